<?php
// A Laravel application that shares sessions: its routes under /_test/ read and write them as typed JSON, in the middleware that every Laravel
// application has. For PHP's own server: php -S 127.0.0.1:PORT app.php, one process, so one request at a time.
//
// Settings come from the environment: APP_KEY (required, `base64:...`); OLD_KEYS (comma separated: previous keys, Laravel 11 and later); CIPHER;
// DRIVER (redis or database); REDIS_PORT; REDIS_PREFIX and CACHE_PREFIX (what stands before an id in Redis); DB_CONNECTION (sqlite, pgsql or mysql),
// DB_PORT, DB_DATABASE, DB_USERNAME, DB_PASSWORD; ENCRYPT (1: records are encrypted); SERIALIZATION (php or json,
// Laravel 9 and later); MINUTES (the lifetime); ON_CLOSE (1: the cookie ends with the browser); FOLDER (one that may be written to).
//
// For tests only: anyone who can reach it can write any session.

error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);
ini_set('display_errors', 'stderr');

use Illuminate\Auth\GenericUser;
use Illuminate\Contracts\Auth\{Authenticatable, UserProvider};
use Illuminate\Cookie\CookieValuePrefix;
use Illuminate\Cookie\Middleware\{AddQueuedCookiesToResponse, EncryptCookies};
use Illuminate\Foundation\Application;
use Illuminate\Http\{Request, Response};
use Illuminate\Session\Middleware\StartSession;
use Illuminate\Support\Facades\Facade;

require 'Illuminate/autoload.php';

function setting(string $name, string $usual = ''): string
{
    $value = getenv($name);
    return $value === false ? $usual : $value;
}

// Typed JSON: what JSON cannot say for sure is {"$t": type, "v": value}.
final class Typed
{
    const EXACT = 2 ** 53 - 1;

    static function of($value)
    {
        if (is_int($value)) {
            return abs($value) > self::EXACT ? ['$t' => 'int', 'v' => (string) $value] : $value;
        }
        if (is_float($value)) {
            return ['$t' => 'float', 'v' => json_encode($value) ?: (string) $value, 'bits' => bin2hex(pack('E', $value))];
        }
        if (is_string($value) && !mb_check_encoding($value, 'UTF-8')) {
            return ['$t' => 'bytes', 'v' => bin2hex($value)];
        }
        if (is_object($value)) {
            return ['$t' => 'object', 'v' => base64_encode(serialize($value))];
        }
        if (!is_array($value)) {
            return $value;
        }
        $items = array_map([self::class, 'of'], $value);
        if ($value === [] || array_keys($value) === range(0, count($value) - 1)) {
            return array_values($items);
        }
        $is_plain = fn($name) => is_string($name) && mb_check_encoding($name, 'UTF-8') && !str_starts_with($name, '$');
        if (array_filter(array_keys($value), $is_plain) === array_keys($value)) {
            return (object) $items;
        }
        $pair = fn($name, $item) => [self::of($name), $item];
        return ['$t' => 'map', 'v' => array_map($pair, array_keys($value), array_values($items))];
    }

    static function back($value)
    {
        if (!is_array($value)) {
            return $value;
        }
        switch ($value['$t'] ?? null) {
            case null: return array_map([self::class, 'back'], $value);
            case 'int': return (int) $value['v'];
            case 'float': return unpack('E', hex2bin($value['bits']))[1];
            case 'bytes': return hex2bin($value['v']);
            case 'object': return unserialize(base64_decode($value['v']));
            case 'map':
                $items = [];
                foreach ($value['v'] as [$name, $item]) {
                    $items[self::back($name)] = self::back($item);
                }
                return $items;
        }
        throw new Exception('no typed JSON');
    }

    static function text($value): string
    {
        return json_encode(self::of($value), JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR);
    }
}

// Every name is a user's.
final class Everybody implements UserProvider
{
    function retrieveById($id) { return new GenericUser(['id' => $id, 'password' => '', 'remember_token' => null]); }
    function retrieveByToken($id, $token) { return null; }
    function updateRememberToken(Authenticatable $user, $token) {}
    function retrieveByCredentials(array $credentials) { return null; }
    function validateCredentials(Authenticatable $user, array $credentials) { return false; }
    function rehashPasswordIfRequired(Authenticatable $user, array $credentials, bool $force = false) {}
}

$folder = setting('FOLDER', sys_get_temp_dir());
$app = new Application($folder);
$app->instance('config', new Illuminate\Config\Repository([
    'app' => [
        'key' => setting('APP_KEY'),
        'previous_keys' => array_filter(explode(',', setting('OLD_KEYS'))),
        'cipher' => setting('CIPHER', 'AES-256-CBC'),
        'debug' => true,
    ],
    'session' => [
        'driver' => setting('DRIVER', 'redis'), 'connection' => setting('DRIVER', 'redis') === 'redis' ? 'default' : null, 'table' => 'sessions', 'store' => null, 'lottery' => [0, 100], 'files' => $folder,
        'lifetime' => (int) setting('MINUTES', '120'), 'expire_on_close' => setting('ON_CLOSE') === '1',
        'encrypt' => setting('ENCRYPT') === '1', 'serialization' => setting('SERIALIZATION', 'php'),
        'cookie' => 'laravel_session', 'path' => '/', 'domain' => null, 'secure' => null, 'http_only' => true, 'same_site' => 'lax', 'partitioned' => false,
    ],
    'auth' => [
        'defaults' => ['guard' => 'web'],
        'guards' => ['web' => ['driver' => 'session', 'provider' => 'everybody'], 'admin' => ['driver' => 'session', 'provider' => 'everybody']],
        'providers' => ['everybody' => ['driver' => 'everybody']],
    ],
    'hashing' => ['driver' => 'bcrypt', 'bcrypt' => ['rounds' => 4]],
    'cache' => [
        'default' => 'redis', 'prefix' => setting('CACHE_PREFIX', 'laravel_cache_'),
        'stores' => ['redis' => ['driver' => 'redis', 'connection' => 'default', 'lock_connection' => 'default']],
    ],
    'database' => [
        'default' => 'site',
        'connections' => ['site' => [
            'driver' => setting('DB_CONNECTION', 'sqlite'), 'host' => '127.0.0.1', 'port' => setting('DB_PORT'), 'database' => setting('DB_DATABASE'),
            'username' => setting('DB_USERNAME'), 'password' => setting('DB_PASSWORD'), 'prefix' => '', 'charset' => setting('DB_CHARSET', 'utf8'),
            'busy_timeout' => 5000,
        ]],
        'redis' => [
            'client' => 'phpredis',
            'options' => ['prefix' => setting('REDIS_PREFIX', 'laravel_database_')],
            'default' => ['host' => '127.0.0.1', 'port' => (int) setting('REDIS_PORT', '6379'), 'database' => 0],
        ],
    ],
]));
Facade::setFacadeApplication($app);
foreach (['Encryption\Encryption', 'Cookie\Cookie', 'Filesystem\Filesystem', 'Redis\Redis', 'Cache\Cache', 'Database\Database', 'Hashing\Hash', 'Auth\Auth', 'Session\Session'] as $provider) {
    $app->register('Illuminate\\' . $provider . 'ServiceProvider');
}
$app->boot();
$app['auth']->provider('everybody', fn() => new Everybody);

$request = Request::capture();
$app->instance('request', $request);
$route = function (Request $request) use ($app) {
    $answer = route($app, $request);
    return new Response($answer ?? '', $answer === null ? 204 : 200);
};
$middleware = [EncryptCookies::class, AddQueuedCookiesToResponse::class, StartSession::class];
$is_outside = in_array($request->path(), ['_test/version', '_test/write', '_test/migrate', '_test/rows', '_test/forget'], true);
(new Illuminate\Pipeline\Pipeline($app))->send($request)->through($is_outside ? [] : $middleware)->then($route)->send();

function body(Request $request)
{
    return Typed::back(json_decode($request->getContent(), true, 512, JSON_THROW_ON_ERROR));
}

/// As the migration does that `php artisan make:session-table` writes; before Laravel 11 `session:table`, with a shorter column for the text.
function migrate(Application $app): void
{
    $app['db']->connection()->getSchemaBuilder()->create('sessions', function (Illuminate\Database\Schema\Blueprint $table) {
        $table->string('id')->primary();
        $table->foreignId('user_id')->nullable()->index();
        $table->string('ip_address', 45)->nullable();
        $table->text('user_agent')->nullable();
        version_compare(Application::VERSION, '11', '<') ? $table->text('payload') : $table->longText('payload');
        $table->integer('last_activity')->index();
    });
}

/// Each entry as it is, whatever its name: `put` would nest one with a dot.
function insert(Request $request): void
{
    $session = $request->session();
    $session->replace(array_replace($session->all(), body($request)));
    foreach (body($request) as $name => $value) {
        if (str_contains((string) $name, '.')) {
            throw new Exception("Laravel would nest $name");
        }
    }
}

function route(Application $app, Request $request): ?string
{
    if ($request->path() === '_test/version') {
        return Application::VERSION;
    }
    if ($request->path() === '_test/write') {
        return written($app, $request);
    }
    switch ($request->path()) {
        case '_test/migrate': migrate($app); return null;
        case '_test/rows': return json_encode($app['db']->table('sessions')->orderBy('id')->get(), JSON_THROW_ON_ERROR);
        case '_test/forget': $app['db']->table('sessions')->where('id', $request->query('id'))->delete(); return null;
    }
    $session = $request->session();
    $guard = $app['auth']->guard($request->query('guard', 'web'));
    switch ($request->path()) {
        case '_test/get': return Typed::text($session->all());
        case '_test/id': return $session->getId();
        case '_test/token': return $session->token() ?? '';
        // Without what Laravel keeps of its own.
        case '_test/set':
            $session->forget(array_diff(array_keys($session->all()), ['_token', '_flash', '_previous']));
            insert($request);
            return null;
        case '_test/add': insert($request); return null;
        case '_test/count': $session->increment('count'); return null;
        case '_test/clear': $session->invalidate(); return null;
        case '_test/renew': $session->regenerate(true); insert($request); return null;
        case '_test/page': $session->setPreviousUrl($request->fullUrl()); return null;
        case '_test/flash': $session->flash($request->json('category', 'status'), body($request)['message']); return null;
        case '_test/keep': $session->keep($request->json('names')); return null;
        case '_test/reflash': $session->reflash(); return null;
        // What a page of a Laravel application shows: whatever stands under the name.
        case '_test/shown': return Typed::text($session->get($request->query('name', 'status')));
        case '_test/login': $guard->login((new Everybody)->retrieveById(body($request)['id'])); return null;
        case '_test/logout': $guard->logout(); $session->invalidate(); $session->regenerateToken(); return null;
        case '_test/whoami': return Typed::text($guard->id());
        case '_test/check': return $guard->check() ? Typed::text($guard->user()->getAuthIdentifier()) : 'nobody';
    }
    throw new Exception('no route');
}

/// The cookie's value and the record for each session, as Laravel makes them, and what it reads of them.
function written(Application $app, Request $request): string
{
    $encrypter = $app['encrypter'];
    $redis = new Redis;
    $redis->connect('127.0.0.1', (int) setting('REDIS_PORT', '6379'));
    $answers = [];
    foreach (json_decode($request->getContent(), true, 512, JSON_THROW_ON_ERROR) as $asked) {
        $session = $app['session']->driver();
        $session->flush();
        $session->setId($asked['id']);
        $session->replace(Typed::back($asked['session']));
        $session->save();
        $session->flush();
        $session->start();
        $name = setting('REDIS_PREFIX', 'laravel_database_') . $app['cache']->store('redis')->getStore()->getPrefix() . $asked['id'];
        $prefix = CookieValuePrefix::create($asked['cookie'] ?? 'laravel_session', $encrypter->getKey());
        $answers[] = [
            'cookie' => rawurlencode($encrypter->encrypt($prefix . ($asked['says'] ?? $asked['id']), false)),
            'name' => $name,
            'record' => bin2hex($redis->get($name)),
            'ttl' => $redis->ttl($name),
            'session' => Typed::of($session->all()),
        ];
    }
    return json_encode($answers, JSON_THROW_ON_ERROR);
}
