/**
 * The device model alone, inline under a stand-in for the hypervisor: microseconds from the event to the answer, for a
 * register read and for a doorbell that sends 1,514 bytes through map cache and hub; without a log, with the
 * trace-event log, with the classic one. Usage: npx tsx bench/device-model.ts [--json]
 */
import { CplusDriver } from '../src/device-model/testing/cplus-driver.ts';
import { VCPU_PORT } from '../src/device-model/testing/fake-hypervisor.ts';
import { NIC_MMIO, setUp } from '../src/device-model/testing/set-up.ts';
import type { DmLogForm } from '../src/device-model/log.ts';

const FRAME = 1514;
const ROUNDS = 7;
const WARM_UP = 20_000;
const COUNT = 20_000;
const TX_RING = 0x10_0000;
const TX_BUFFERS = 0x20_0802;
const RING = 8;

type Step = () => void;

function registerRead(logForm: DmLogForm | undefined): { prepare: Step; serve: Step } {
  const { hv, dm } = setUp(logForm ? { logForm } : {});
  return {
    prepare: () => {
      hv.sent.length = 0;
      hv.post({ addr: NIC_MMIO + 0x3e, size: 2 });
      hv.raise(VCPU_PORT);
    },
    serve: () => void dm.runUntilIdle(),
  };
}

function doorbell(logForm: DmLogForm | undefined): { prepare: Step; serve: Step } {
  const { hv, dm, lines } = setUp(logForm ? { logForm } : {});
  new CplusDriver(hv, NIC_MMIO).start();
  const words = new Uint32Array(hv.memory.buffer);
  let next = 0;
  return {
    prepare: () => {
      lines.length = hv.sent.length = hv.calls.length = 0;
      const at = hv.maddr(TX_RING + next * 16) >>> 2;
      words[at] = (0xb0000000 + (next === RING - 1 ? 0x40000000 : 0) + FRAME) >>> 0;
      words[at + 2] = TX_BUFFERS + next * 0x800;
      next = (next + 1) % RING;
      hv.post({ addr: NIC_MMIO + 0xd9, size: 1, write: 0x40 });
      hv.raise(VCPU_PORT);
    },
    serve: () => void dm.runUntilIdle(),
  };
}

const results: Record<string, number> = {};
for (const [what, make] of [
  ['register read', registerRead],
  [`doorbell, ${FRAME} bytes`, doorbell],
] as const) {
  for (const logForm of [undefined, 'trace', 'classic'] as const) {
    const { prepare, serve } = make(logForm);
    const round = (count: number): number => {
      let spent = 0;
      for (let i = 0; i < count; i++) {
        prepare();
        const begin = performance.now();
        serve();
        spent += performance.now() - begin;
      }
      return (spent * 1000) / count;
    };
    round(WARM_UP);
    const times = Array.from({ length: ROUNDS }, () => round(COUNT)).sort((a, b) => a - b);
    results[`${what}, ${logForm ?? 'no'} log`] = Number(times[ROUNDS >> 1]!.toFixed(2));
  }
}
if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 1));
else for (const [name, us] of Object.entries(results)) console.log(`${name.padEnd(40)} ${us.toFixed(2)} us`);
