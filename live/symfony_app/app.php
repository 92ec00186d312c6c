<?php
// The test routes of the Flask twin (../flask_app/app.py), on Symfony's session, served by `php -S HOST:PORT app.php`.
//
// SAVE is a folder of session files; without it, sessions are in the Redis at REDIS_PORT. SERIALIZER is PHP's serialize_handler. The sessions have the settings of
// Symfony's framework, and with LIFETIME a cookie that lives so many seconds; with FLASHES=auto messages are in an AutoExpireFlashBag. The routes read and write the session as typed JSON. They are for tests only: anyone who can reach them can write any session.

declare(strict_types=1);

// Symfony 5.4 is older than the PHP that it runs on here.
error_reporting(E_ALL & ~E_DEPRECATED & ~E_USER_DEPRECATED);

require 'Symfony/Component/HttpFoundation/autoload.php';
require 'Symfony/Component/HttpKernel/autoload.php';
require 'Symfony/Component/Security/Core/autoload.php';
require 'Symfony/Component/Security/Http/autoload.php';
require __DIR__ . '/../php_app/typed.php';

use Psr\Container\ContainerInterface;
use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\HttpFoundation\Response;
use Symfony\Component\HttpFoundation\Session\Flash\AutoExpireFlashBag;
use Symfony\Component\HttpFoundation\Session\Flash\FlashBag;
use Symfony\Component\HttpFoundation\Session\Session;
use Symfony\Component\HttpFoundation\Session\Storage\Handler\NativeFileSessionHandler;
use Symfony\Component\HttpFoundation\Session\Storage\Handler\RedisSessionHandler;
use Symfony\Component\HttpFoundation\Session\Storage\Handler\StrictSessionHandler;
use Symfony\Component\HttpFoundation\Session\Storage\NativeSessionStorage;
use Symfony\Component\HttpKernel\Event\ResponseEvent;
use Symfony\Component\HttpKernel\EventListener\SessionListener;
use Symfony\Component\HttpKernel\HttpKernelInterface;
use Symfony\Component\HttpKernel\Kernel;
use Symfony\Component\Security\Core\Authentication\Token\RememberMeToken;
use Symfony\Component\Security\Core\Authentication\Token\SwitchUserToken;
use Symfony\Component\Security\Core\Authentication\Token\UsernamePasswordToken;
use Symfony\Component\Security\Core\User\InMemoryUser;
use Symfony\Component\Security\Core\User\UserInterface;
use Symfony\Component\Security\Http\Authenticator\Token\PostAuthenticationToken;

function handler(): SessionHandlerInterface
{
    if ($folder = getenv('SAVE')) {
        return new StrictSessionHandler(new NativeFileSessionHandler($folder));
    }
    $redis = new Redis();
    $redis->connect('127.0.0.1', (int) getenv('REDIS_PORT'));
    return new RedisSessionHandler($redis);
}

/** A user as an application has it. */
final class Customer implements UserInterface
{
    public function __construct(private int $id, protected string $email)
    {
    }

    public function getRoles(): array
    {
        return ['ROLE_USER'];
    }

    public function getUserIdentifier(): string
    {
        return $this->email;
    }

    // What Symfony 5.4 still asks for.
    public function getPassword(): ?string
    {
        return null;
    }

    public function getSalt(): ?string
    {
        return null;
    }

    public function getUsername(): string
    {
        return $this->email;
    }

    public function eraseCredentials(): void
    {
    }
}

/** A log-in as Symfony's firewall `main` makes it. */
function token(string $class, UserInterface $user): mixed
{
    $roles = ['ROLE_USER'];
    return match ($class) {
        'UsernamePasswordToken' => new UsernamePasswordToken($user, 'main', $roles),
        'RememberMeToken' => new RememberMeToken($user, 'main', 'secret'),
        'PostAuthenticationToken' => new PostAuthenticationToken($user, 'main', $roles),
        'SwitchUserToken' => new SwitchUserToken($user, 'main', $roles, new UsernamePasswordToken($user, 'main', $roles)),
    };
}

/** What the framework's listener wants to be given, and does not use. */
final class Nothing implements ContainerInterface, HttpKernelInterface
{
    public function get(string $id): mixed
    {
        return null;
    }

    public function has(string $id): bool
    {
        return false;
    }

    public function handle(Request $request, int $type = self::MAIN_REQUEST, bool $catch = true): Response
    {
        return new Response();
    }
}

function entries_of(Session $session): mixed
{
    return $session->all() === [] ? new stdClass() : map_to_typed($session->all());
}

set_exception_handler(function (Throwable $error): void {
    http_response_code(500);
    error_log((string) $error);
    echo $error->getMessage(), "\n";
});

$settings = ['cookie_httponly' => true, 'cookie_samesite' => 'lax', 'cookie_secure' => 'auto', 'gc_probability' => 0];
$told = ['serialize_handler' => getenv('SERIALIZER') ?: 'php', 'cookie_lifetime' => (int) getenv('LIFETIME')];
$flashes = getenv('FLASHES') === 'auto' ? new AutoExpireFlashBag() : new FlashBag();
$session = new Session(new NativeSessionStorage($settings + $told, handler()), null, $flashes);
$session->start();
$request = Request::createFromGlobals();
$answer = null;
switch ($request->getPathInfo()) {
    case '/_test/set':
        $session->replace(body());
        break;
    case '/_test/get':
        $answer = entries_of($session);
        break;
    case '/_test/add':
        foreach (body() as $name => $value) {
            $session->set((string) $name, $value);
        }
        break;
    case '/_test/login':
        $session->migrate(true);
        foreach (body() as $name => $value) {
            $session->set((string) $name, $value);
        }
        break;
    case '/_test/clear':
        $session->invalidate();
        break;
    case '/_test/flash':
        $body = body();
        $session->getFlashBag()->add($body['category'] ?? 'message', $body['message']);
        break;
    // Attributes and messages in one page, so that both are there when the session begins.
    case '/_test/visit':
        ['set' => $entries, 'flash' => $messages] = body();
        $session->replace($entries);
        foreach ($messages as [$category, $message]) {
            $session->getFlashBag()->add($category, $message);
        }
        break;
    // The messages that wait, shown: pairs of category and message.
    case '/_test/flashes':
        $answer = [];
        foreach ($session->getFlashBag()->all() as $category => $messages) {
            foreach ($messages as $message) {
                $answer[] = [(string) $category, to_typed($message)];
            }
        }
        break;
    // When the session was made and last used, and how long its cookie lives.
    case '/_test/meta':
        $meta = $session->getMetadataBag();
        $answer = ['created' => $meta->getCreated(), 'used' => $meta->getLastUsed(), 'lifetime' => $meta->getLifetime()];
        break;
    // A log-in, as Symfony's `ContextListener` keeps it.
    case '/_test/security':
        ['token' => $class, 'user' => $name] = body();
        $user = str_contains($name, '@') ? new Customer(7, $name) : new InMemoryUser($name, 'password', ['ROLE_USER']);
        $session->migrate(true);
        $session->set('_security_main', serialize(token($class, $user)));
        break;
    // Who Symfony takes the visitor for.
    case '/_test/whoami':
        $token = unserialize($session->get('_security_main', 'N;'));
        echo $token ? $token->getUserIdentifier() : 'nobody';
        return;
    // Beside Symfony's bags, an object and references to it and to an attribute.
    case '/_test/php':
        $one = new stdClass();
        $one->text = 'plain PHP';
        $_SESSION['plain'] = ['object' => $one, 'same' => $one];
        $session->set('kept', ['list' => [1, 2]]);
        $bag = $session->get('kept');
        $_SESSION['list'] = [&$bag['list'], &$bag['list']];
        break;
    // The same alone, as an attribute.
    case '/_test/object':
        $session->set('object', (object) ['text' => 'an attribute']);
        break;
    case '/_test/version':
        echo Kernel::VERSION;
        return;
    case '/_test/php_get':
        $plain = $_SESSION['plain'];
        $list = &$_SESSION['list'];
        $list[0][] = 3;
        $answer = ['text' => $plain['object']->text, 'same' => $plain['object'] === $plain['same'], 'list' => count($list[1])];
        array_pop($list[0]);
        break;
    default:
        http_response_code(404);
        return;
}
$text = json_encode($answer, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES) . "\n";
$response = $answer === null ? new Response('', 204) : new Response($text, 200, ['content-type' => ENTRIES]);
// The framework's own end of a request, which saves the session and sends its cookie.
$request->setSession($session);
(new SessionListener(new Nothing()))->onKernelResponse(
    new ResponseEvent(new Nothing(), $request, HttpKernelInterface::MAIN_REQUEST, $response),
);
$response->send();
