<?php
// The test routes of the Flask twin (../flask_app/app.py), in PHP, served by `php -S HOST:PORT app.php`.
//
// Settings are PHP's own, by -d: session.save_handler, session.save_path, session.serialize_handler and the rest. The routes read and write the session as
// typed JSON. They are for tests only: anyone who can reach them can write any session.

declare(strict_types=1);

const ENTRIES = 'application/json';

/** A value as typed JSON has it. PHP's arrays with the keys 0, 1, 2 and so on are lists, others are maps. */
function to_typed(mixed $value): mixed
{
    if (is_float($value)) {
        return ['$t' => 'float', 'v' => var_export($value, true), 'bits' => bin2hex(pack('E', $value))];
    }
    if (is_int($value) && abs($value) > 2 ** 53 - 1) {
        return ['$t' => 'int', 'v' => (string) $value];
    }
    if (is_string($value) && preg_match('//u', $value) !== 1) {
        return ['$t' => 'bytes', 'v' => bin2hex($value)];
    }
    if (!is_array($value)) {
        return $value;
    }
    return array_is_list($value) ? array_map('to_typed', $value) : map_to_typed($value);
}

/** A map, where all its keys are texts as an object, else as pairs. */
function map_to_typed(array $map): array|stdClass
{
    $is_plain = fn ($key) => is_string($key) && !str_starts_with($key, '$');
    if (array_filter(array_keys($map), $is_plain) === array_keys($map)) {
        return (object) array_map('to_typed', $map);
    }
    $pair = fn ($key, $value) => [to_typed($key), to_typed($value)];
    return ['$t' => 'map', 'v' => array_map($pair, array_keys($map), $map)];
}

function from_typed(mixed $value): mixed
{
    if (is_array($value)) {
        return array_map('from_typed', $value);
    }
    if (!$value instanceof stdClass) {
        return $value;
    }
    return match ($value->{'$t'} ?? null) {
        null => array_map('from_typed', (array) $value),
        'float' => unpack('E', hex2bin($value->bits))[1],
        'int' => (int) $value->v,
        'bytes' => hex2bin($value->v),
        'map' => array_combine(array_map('from_typed', array_column($value->v, 0)), array_map('from_typed', array_column($value->v, 1))),
    };
}

/** The entries of the body. */
function body(): array
{
    return from_typed(json_decode(file_get_contents('php://input') ?: '{}', flags: JSON_THROW_ON_ERROR));
}

/** The same page of another server, for the same visitor. */
function asked(string $url): string
{
    $cookie = session_name() . '=' . rawurlencode(session_id());
    return file_get_contents($url, false, stream_context_create(['http' => ['header' => "cookie: $cookie", 'timeout' => 20]]));
}

function answer(mixed $text): void
{
    header('content-type: ' . ENTRIES);
    echo json_encode($text, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), "\n";
}

set_error_handler(fn (int $level, string $message) => throw new ErrorException($message));
set_exception_handler(function (Throwable $error): void {
    http_response_code(500);
    error_log((string) $error);
    echo $error->getMessage(), "\n";
});

session_start();
$route = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
switch ($route) {
    case '/_test/set':
        $_SESSION = body();
        break;
    case '/_test/get':
        // As an object also where it is empty.
        answer($_SESSION === [] ? new stdClass() : map_to_typed($_SESSION));
        return;
    case '/_test/add':
        $_SESSION = array_replace($_SESSION, body());
        break;
    case '/_test/login':
        session_regenerate_id(true);
        $_SESSION = array_replace($_SESSION, body());
        break;
    case '/_test/clear':
        session_destroy();
        setcookie(session_name(), '', ['expires' => 1, 'path' => '/']);
        break;
    // So many milliseconds with the session's lock, as a slow page.
    case '/_test/slow':
        usleep(1000 * (int) $_GET['ms']);
        $_SESSION = array_replace($_SESSION, body());
        break;
    // A page of another server, with the session's lock held.
    case '/_test/asks':
        echo asked($_GET['url']);
        return;
    // Garbage collection: how many were removed.
    case '/_test/gc':
        answer(session_gc());
        return;
    default:
        http_response_code(404);
        return;
}
session_write_close();
http_response_code(204);
