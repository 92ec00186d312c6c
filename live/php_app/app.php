<?php
// The test routes of the Flask twin (../flask_app/app.py), in PHP, served by `php -S HOST:PORT app.php`.
//
// Settings are PHP's own, by -d: session.save_handler, session.save_path, session.serialize_handler and the rest. The routes read and write the session as
// typed JSON. They are for tests only: anyone who can reach them can write any session.

declare(strict_types=1);

require __DIR__ . '/typed.php';

/** The same page of another server, for the same visitor. */
function asked(string $url): string
{
    $cookie = session_name() . '=' . rawurlencode(session_id());
    return file_get_contents($url, false, stream_context_create(['http' => ['header' => "cookie: $cookie", 'timeout' => 20]]));
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
