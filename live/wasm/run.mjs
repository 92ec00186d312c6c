// node run.mjs FILE.wasm NAME: calls this exported function of a program for wasm32-unknown-unknown or wasm32-wasip1.
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";

const [file, name] = process.argv.slice(2);
const bytes = (at, length) => new Uint8Array(instance.exports.memory.buffer, at, length);
const host = {
  now: () => Date.now(),
  print: (at, length) => console.error(new TextDecoder().decode(bytes(at, length))),
  random: (at, length) => void crypto.getRandomValues(bytes(at, length)),
};

const module = await WebAssembly.compile(await readFile(file));
const needsWasi = WebAssembly.Module.imports(module).some((wanted) => wanted.module === "wasi_snapshot_preview1");
const wasi = new WASI({ version: "preview1" });
const instance = await WebAssembly.instantiate(module, { host, ...(needsWasi ? wasi.getImportObject() : {}) });
if (needsWasi) wasi.initialize(instance);
instance.exports[name]();
console.log(`${name}: kept`);
