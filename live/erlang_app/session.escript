#!/usr/bin/env escript
%% Plug's session cookie in Erlang alone, with its own crypto and its own terms: Plug itself is had from hex.pm only.
%%
%% check SECRET SIGNING_SALT ENCRYPTION_SALT: reads cookies from the standard input, one a line, and prints of each `same` where
%% term_to_binary writes the session that was in it just so, else `other` with what it writes, or `refused`.
%%
%% make SECRET SIGNING_SALT ENCRYPTION_SALT COUNT SEED: prints generated sessions, each encrypted, in the older form, and signed.

-mode(compile).

main(["check" | Keys]) ->
    each_line(keys(Keys));
main(["make", Secret, Signing, Encryption, Count, Seed]) ->
    Keys = keys([Secret, Signing, Encryption]),
    rand:seed(exsss, list_to_integer(Seed)),
    [make(Keys) || _ <- lists:seq(1, list_to_integer(Count))].

keys([Secret, Signing, Encryption]) ->
    Key = fun(Salt) -> crypto:pbkdf2_hmac(sha256, list_to_binary(Secret), list_to_binary(Salt), 1000, 32) end,
    {Key(Signing), Key(Encryption)}.

each_line(Keys) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            io:put_chars([check(Keys, list_to_binary(string:trim(Line))), "\n"]),
            each_line(Keys)
    end.

check(Keys, Cookie) ->
    try
        Binary = open(Keys, binary:split(Cookie, <<".">>, [global])),
        {Binary, term_to_binary(binary_to_term(Binary))}
    of
        {Same, Same} -> "same";
        {Theirs, Ours} -> ["other ", hex(Ours), " not ", hex(Theirs)]
    catch
        _:_ -> "refused"
    end.

open({Signing, _}, [<<"SFMyNTY">>, Payload, Signature]) ->
    Mac = crypto:mac(hmac, sha256, Signing, <<"SFMyNTY.", Payload/binary>>),
    Mac = decode(Signature),
    decode(Payload);
open({_, Encryption}, [<<"XCP">>, Sealed]) ->
    <<Nonce:24/binary, Tag:16/binary, Ciphertext/binary>> = decode(Sealed),
    xchacha(Encryption, Nonce, Ciphertext, Tag, false);
open({Signing, Encryption}, [<<"QTEyOEdDTQ">>, Wrapped, Iv, Ciphertext, Tag]) ->
    <<Content:16/binary, WrapTag:16/binary, WrapIv:12/binary>> = decode(Wrapped),
    Key = crypto:crypto_one_time_aead(aes_256_gcm, Encryption, WrapIv, Content, Signing, WrapTag, false),
    crypto:crypto_one_time_aead(aes_128_gcm, Key, decode(Iv), decode(Ciphertext), <<"A128GCM">>, decode(Tag), false).

make({Signing, Encryption}) ->
    Session = maps:from_list([{text(), term(3)} || _ <- lists:seq(1, rand:uniform(12))]),
    Binary = term_to_binary(Session),
    Nonce = rand:bytes(24),
    {Ciphertext, Tag} = xchacha(Encryption, Nonce, Binary, 16, true),
    Encrypted = ["XCP.", encode(<<Nonce/binary, Tag/binary, Ciphertext/binary>>)],
    {Key, Iv, WrapIv} = {rand:bytes(16), rand:bytes(12), rand:bytes(12)},
    {Older, OlderTag} = crypto:crypto_one_time_aead(aes_128_gcm, Key, Iv, Binary, <<"A128GCM">>, 16, true),
    {Wrapped, WrapTag} = crypto:crypto_one_time_aead(aes_256_gcm, Encryption, WrapIv, Key, Signing, 16, true),
    Parts = [<<Wrapped/binary, WrapTag/binary, WrapIv/binary>>, Iv, Older, OlderTag],
    Signed = <<"SFMyNTY.", (encode(Binary))/binary>>,
    Signature = encode(crypto:mac(hmac, sha256, Signing, Signed)),
    io:put_chars([Encrypted, " QTEyOEdDTQ.", lists:join(".", [encode(Part) || Part <- Parts]), " ", Signed, ".", Signature, "\n"]).

%% A term of any kind that is data.
term(0) -> leaf(rand:uniform(8));
term(Depth) ->
    case rand:uniform(14) of
        9 -> [term(Depth - 1) || _ <- some()];
        10 -> list_to_tuple([term(Depth - 1) || _ <- some()]);
        11 -> maps:from_list([{term(Depth - 1), term(Depth - 1)} || _ <- some()]);
        12 -> [rand:uniform(256) - 1 || _ <- some()];
        13 -> maps:from_list([{text(), term(Depth - 1)} || _ <- some()]);
        14 -> [];
        Kind -> leaf(Kind)
    end.

leaf(1) -> rand:uniform(300) - 20;
leaf(2) -> sign() * rand:uniform(1 bsl rand:uniform(40));
leaf(3) -> sign() * rand:uniform(1 bsl (30 + rand:uniform(400)));
leaf(4) -> (rand:uniform() - 0.5) * math:pow(10, rand:uniform(200) - 100);
leaf(5) -> rand:bytes(rand:uniform(20));
leaf(6) -> list_to_atom(binary_to_list(<<"a", (integer_to_binary(rand:uniform(9)))/binary>>));
leaf(7) -> lists:nth(rand:uniform(6), [nil, true, false, ok, 'Elixir.My.Module', list_to_atom([16#e4, 16#f6])]);
leaf(_) -> text().

some() -> lists:seq(1, rand:uniform(6) - 1).

sign() -> rand:uniform(2) * 2 - 3.

text() ->
    unicode:characters_to_binary([lists:nth(rand:uniform(8), [$a, $b, $Z, $_, $., 16#e9, 16#4e2d, 16#1f9ea]) || _ <- some()]).

xchacha(Key, <<Head:16/binary, Tail:8/binary>>, Text, Tag, IsEncrypting) ->
    crypto:crypto_one_time_aead(
        chacha20_poly1305, subkey(Key, Head), <<0:32, Tail/binary>>, Text, <<"A128GCM">>, Tag, IsEncrypting
    ).

%% HChaCha20, which crypto has not: draft-irtf-cfrg-xchacha, section 2.2.
subkey(Key, Nonce) ->
    Words = fun(Binary) -> [Word || <<Word:32/little>> <= Binary] end,
    State = list_to_tuple(Words(<<"expand 32-byte k">>) ++ Words(Key) ++ Words(Nonce)),
    Mixed = lists:foldl(fun(_, Sum) -> rounds(Sum) end, State, lists:seq(1, 10)),
    << <<(element(At, Mixed)):32/little>> || At <- [1, 2, 3, 4, 13, 14, 15, 16] >>.

rounds(State) ->
    Quarters = [{1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15}, {4, 8, 12, 16},
                {1, 6, 11, 16}, {2, 7, 12, 13}, {3, 8, 9, 14}, {4, 5, 10, 15}],
    lists:foldl(fun quarter/2, State, Quarters).

quarter({A, B, C, D}, State) ->
    Steps = [{A, B, D, 16}, {C, D, B, 12}, {A, B, D, 8}, {C, D, B, 7}],
    lists:foldl(
        fun({To, From, Turned, By}, Now) ->
            Sum = (element(To, Now) + element(From, Now)) band 16#ffffffff,
            Mixed = element(Turned, Now) bxor Sum,
            Turn = ((Mixed bsl By) bor (Mixed bsr (32 - By))) band 16#ffffffff,
            setelement(Turned, setelement(To, Now, Sum), Turn)
        end,
        State,
        Steps
    ).

encode(Binary) ->
    Padded = base64:encode(Binary),
    << <<(case Byte of $+ -> $-; $/ -> $_; _ -> Byte end)>> || <<Byte>> <= Padded, Byte =/= $= >>.

decode(Text) ->
    Plain = << <<(case Byte of $- -> $+; $_ -> $/; _ -> Byte end)>> || <<Byte>> <= Text >>,
    Pad = binary:copy(<<"=">>, (4 - byte_size(Plain) rem 4) rem 4),
    base64:decode(<<Plain/binary, Pad/binary>>).

hex(Binary) -> [io_lib:format("~2.16.0b", [Byte]) || <<Byte>> <= Binary].
