<?php
// Typed JSON in PHP, and answers in it: what the applications of PHP and of Symfony share.

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

function answer(mixed $text): void
{
    header('content-type: ' . ENTRIES);
    echo json_encode($text, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), "\n";
}
