<?php
// Times PHP's own sessions, and Symfony's and Laravel's where they are in PHP's include_path, on the session of the other benchmarks: microseconds of CPU,
// the best of 15 runs. What keeps the record costs nothing here.

error_reporting(E_ALL & ~E_DEPRECATED);

final class Kept implements SessionHandlerInterface
{
    public string $record = '';

    public function open(string $path, string $name): bool { return true; }
    public function close(): bool { return true; }
    public function read(string $id): string|false { return $this->record; }
    public function write(string $id, string $data): bool { $this->record = $data; return true; }
    public function destroy(string $id): bool { return true; }
    public function gc(int $lifetime): int|false { return 0; }
}

function best(callable $call): float
{
    $spent = fn() => ($usage = getrusage())['ru_utime.tv_sec'] * 1e6 + $usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_sec'] * 1e6 + $usage['ru_stime.tv_usec'];
    $runs = [];
    for ($run = 0; $run < 15; $run++) {
        $from = $spent();
        for ($at = 0; $at < 500; $at++) {
            $call();
        }
        $runs[] = ($spent() - $from) / 500;
    }
    return min($runs);
}

function say(string $of, callable $commit, callable $open): void
{
    $commit();
    if ($open() !== ENTRIES) {
        throw new Exception("$of does not come back");
    }
    printf("%s/commit/%s\t%.3f\n%s/open/%s\t%.3f\n", $of, $of, best($commit), $of, $of, best($open));
}

define('ENTRIES', json_decode(file_get_contents(__DIR__ . '/../peers/src/session.json'), true));
ob_start();
session_set_save_handler(new Kept);
session_start(['use_cookies' => false, 'cache_limiter' => '']);
$record = '';
say('php', function () use (&$record) {
    $_SESSION = ENTRIES;
    $record = session_encode();
}, function () use (&$record) {
    $_SESSION = [];
    session_decode($record);
    return $_SESSION;
});

@include_once 'Symfony/Component/HttpFoundation/autoload.php';
if (class_exists(Symfony\Component\HttpFoundation\Session\Session::class)) {
    $session = fn() => new Symfony\Component\HttpFoundation\Session\Session(new Symfony\Component\HttpFoundation\Session\Storage\PhpBridgeSessionStorage);
    say('symfony', function () use (&$record, $session) {
        $_SESSION = [];
        $one = $session();
        $one->start();
        $one->replace(ENTRIES);
        $record = session_encode();
    }, function () use (&$record, $session) {
        $_SESSION = [];
        session_decode($record);
        $one = $session();
        $one->start();
        return $one->all();
    });
}

@include_once 'Illuminate/autoload.php';
if (class_exists(Illuminate\Session\Store::class)) {
    $key = str_repeat('k', 32);
    [$encrypter, $kept, $id] = [new Illuminate\Encryption\Encrypter($key, 'AES-256-CBC'), new Kept, str_repeat('a', 40)];
    $store = fn() => new Illuminate\Session\Store('laravel_session', $kept, $id);
    $own = ['_token' => 1, '_flash' => 1];
    $cookie = '';
    say('laravel', function () use (&$cookie, $encrypter, $kept, $id, $key, $store) {
        $one = $store();
        $one->replace(ENTRIES);
        $one->save();
        // As the cache store does it.
        $kept->record = serialize($kept->record);
        $cookie = $encrypter->encrypt(Illuminate\Cookie\CookieValuePrefix::create('laravel_session', $key) . $id, false);
    }, function () use (&$cookie, $encrypter, $kept, $key, $store, $own) {
        Illuminate\Cookie\CookieValuePrefix::remove($encrypter->decrypt($cookie, false));
        $record = $kept->record;
        $kept->record = unserialize($record);
        $one = $store();
        $one->start();
        $kept->record = $record;
        return array_diff_key($one->all(), $own);
    });
}
fwrite(STDOUT, ob_get_clean());
