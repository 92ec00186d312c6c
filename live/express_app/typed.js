// Typed JSON, as the vectors have it, for the applications on Node.

export class BadRequest extends Error {
  status = 400
}

// Typed JSON to JavaScript. Plain JSON is itself; everything else is {"$t": type, "v": value}.
export function fromTyped(value) {
  if (typeof value === 'number' && !Number.isInteger(value)) {
    throw new BadRequest(`a bare number is an integer, and ${value} is not`)
  }
  if (Array.isArray(value)) return value.map(fromTyped)
  if (typeof value !== 'object' || value === null) return value
  if (!('$t' in value)) return object(Object.entries(value).map(([name, item]) => [name, fromTyped(item)]))
  const { $t: kind, v } = value
  switch (kind) {
    case 'int':
      if (!Number.isSafeInteger(Number(v))) break
      return Number(v)
    case 'float':
      return Buffer.from(value.bits, 'hex').readDoubleBE()
    case 'utf16':
      return Buffer.from(v, 'hex').swap16().toString('utf16le')
    case 'map': {
      const members = v.map((pair) => pair.map(fromTyped))
      if (!members.every(([name]) => typeof name === 'string')) break
      return object(members)
    }
  }
  throw new BadRequest(`JavaScript's JSON has no such value: ${JSON.stringify(value)}`)
}

// An object of these members, whatever their names.
export function object(members) {
  const made = {}
  for (const [name, value] of members) {
    Object.defineProperty(made, name, { value, enumerable: true, configurable: true, writable: true })
  }
  return made
}

// JavaScript to typed JSON; the inverse of fromTyped.
export function toTyped(value) {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return value
    const bits = Buffer.alloc(8)
    bits.writeDoubleBE(value)
    return { $t: 'float', v: String(value), bits: bits.toString('hex') }
  }
  if (typeof value === 'string') {
    return value.isWellFormed() ? value : { $t: 'utf16', v: Buffer.from(value, 'utf16le').swap16().toString('hex') }
  }
  if (Array.isArray(value)) return value.map(toTyped)
  if (typeof value !== 'object' || value === null) return value
  const members = Object.entries(value).map(([name, item]) => [name, toTyped(item)])
  const plain = members.every(([name]) => name.isWellFormed() && !name.startsWith('$'))
  return plain ? object(members) : { $t: 'map', v: members.map(([name, item]) => [toTyped(name), item]) }
}

// ASCII, as the vectors are.
export function ascii(text) {
  return text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
