/** What benchmarks of a chip alone share: a chip on the cheapest DMA there is, and the measuring of cases. */
import { TestBus } from '../src/devices/conformance/test-bus.ts';
import type { Wire } from '../src/devices/interfaces.ts';
import type { NicChip } from '../src/devices/nic/model.ts';
import type { PciSlot } from '../src/devices/pci/pci-device.ts';

export const RAM = 0x100_0000;
export const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
export const FRAME = 1514;
/** Where the frame's bytes lie in RAM. */
export const BUFFER = 0x8000;
const ROUNDS = 7;

/** A chip with a frame's bytes at RAM + BUFFER; the wire keeps nothing. */
export function chipAlone<Chip extends NicChip>(make: (slot: PciSlot, wire: Wire) => Chip) {
  const bus = new TestBus(make, RAM);
  const { chip, wire, ram } = bus;
  chip.writeConfig(4, 2, 7);
  wire.send = () => {};
  const { bytes } = ram;
  // Views of what is copied are kept, so that what grows on the heap is the chip's doing.
  const views = new Map<Uint8Array, Map<number, Uint8Array>>();
  const part = (whole: Uint8Array, from: number, length: number): Uint8Array => {
    let parts = views.get(whole);
    if (!parts) views.set(whole, (parts = new Map()));
    const key = from * 2048 + length;
    let view = parts.get(key);
    if (!view) parts.set(key, (view = whole.subarray(from, from + length)));
    return view;
  };
  ram.read = (gpa, buffer, offset, length) => {
    buffer.set(part(bytes, gpa - RAM, length), offset);
    return true;
  };
  ram.write = (gpa, buffer, offset, length) => {
    bytes.set(part(buffer, offset, length), gpa - RAM);
    return true;
  };
  bytes.set(MAC, BUFFER);
  const view = new DataView(bytes.buffer);
  return { bus, chip: chip as Chip, view, frame: bytes.slice(BUFFER, BUFFER + FRAME) };
}

/** What one case does, again and again, and how often in a round. */
interface Case {
  readonly make: () => () => void;
  readonly count: number;
}

/** Measures the cases and prints a line for each, or JSON with `--json`. */
export function measure(cases: Readonly<Record<string, Case>>): void {
  const results = Object.entries(cases).map(([name, { make, count }]) => {
    const work = make();
    const run = (n: number): number => {
      const start = process.hrtime.bigint();
      for (let i = 0; i < n; i++) work();
      return Number(process.hrtime.bigint() - start) / n;
    };
    run(count);
    run(count);
    const times = Array.from({ length: ROUNDS }, () => run(count)).sort((a, b) => a - b);
    // Heap growth where no collection came between: the smallest that is not negative.
    const grown = Array.from({ length: ROUNDS }, () => {
      const before = process.memoryUsage().heapUsed;
      run(count);
      return (process.memoryUsage().heapUsed - before) / count;
    })
      .filter((bytes) => bytes >= 0)
      .sort((a, b) => a - b);
    return { name, ns: times[ROUNDS >> 1]!, min: times[0]!, max: times.at(-1)!, heapBytes: grown[0] ?? Number.NaN };
  });
  if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 1));
  else
    for (const r of results)
      console.log(
        `${r.name.padEnd(40)} ${r.ns.toFixed(0).padStart(6)} ns (${r.min.toFixed(0)} … ${r.max.toFixed(0)}), ${r.heapBytes.toFixed(1)} heap bytes`,
      );
}
