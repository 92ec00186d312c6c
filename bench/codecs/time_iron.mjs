// Times iron-session's seal on the session of the other benchmarks: microseconds of CPU, the best of 15 runs.
import { readFileSync } from "node:fs";
import { sealData, unsealData } from "iron-session";

const session = JSON.parse(readFileSync(new URL("../peers/src/session.json", import.meta.url)));
const options = { password: "0123456789abcdef0123456789abcdef" };

async function best(call) {
  const runs = [];
  for (let run = 0; run < 15; run++) {
    const from = process.cpuUsage();
    for (let i = 0; i < 500; i++) await call();
    const { user, system } = process.cpuUsage(from);
    runs.push((user + system) / 500);
  }
  return Math.min(...runs);
}

const seal = await sealData(session, options);
if (JSON.stringify(await unsealData(seal, options)) !== JSON.stringify(session)) throw new Error("it does not come back");
console.log(`iron/commit/iron\t${(await best(() => sealData(session, options))).toFixed(3)}`);
console.log(`iron/open/iron\t${(await best(() => unsealData(seal, options))).toFixed(3)}`);
