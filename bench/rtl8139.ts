/**
 * The RTL8139 alone, on a test bus: nanoseconds and heap bytes of a register access and of a frame, both modes, both
 * ways. Usage: npx tsx bench/rtl8139.ts [--json]
 */
import { TestBus } from '../src/devices/conformance/test-bus.ts';
import { Rtl8139 } from '../src/devices/nic/rtl8139/core.ts';

const RAM = 0x100_0000;
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const FRAME = 1514;
const ROUNDS = 7;

/** A chip with the frame's bytes at RAM + 0x8000, on the cheapest DMA there is; the wire keeps nothing. */
function setUp() {
  const bus = new TestBus((slot, wire) => new Rtl8139(slot, wire, { mac: MAC }), RAM);
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
  bytes.set(MAC, 0x8000);
  const view = new DataView(bytes.buffer);
  const write = (offset: number, size: number, value: number): void => chip.writeBar(1, offset, size, value);
  write(0x37, 1, 0x0c);
  write(0x44, 4, 0x0e);
  return { chip, view, write, frame: bytes.slice(0x8000, 0x8000 + FRAME) };
}

const cases: Record<string, () => () => void> = {
  'register read (IntrStatus)': () => {
    const { chip } = setUp();
    return () => void chip.readBar(1, 0x3e, 2);
  },
  'register write (IntrMask)': () => {
    const { chip } = setUp();
    return () => chip.writeBar(1, 0x3c, 2, 0xe1ff);
  },
  'register write (TxAddr0, above 2 GiB)': () => {
    const { chip } = setUp();
    return () => chip.writeBar(1, 0x20, 4, 0xd4e6c400);
  },
  'C+ transmit, 1514 bytes': () => {
    const { view, write } = setUp();
    write(0xe0, 2, 3);
    write(0x20, 4, RAM);
    view.setUint32(8, RAM + 0x8000, true);
    return () => {
      view.setUint32(0, 0xf0000000 + FRAME, true);
      write(0xd9, 1, 0x40);
    };
  },
  'C transmit, 1514 bytes': () => {
    const { write } = setUp();
    for (let n = 0; n < 4; n++) write(0x20 + 4 * n, 4, RAM + 0x8000);
    let n = 0;
    return () => {
      write(0x10 + 4 * n, 4, FRAME);
      n = (n + 1) & 3;
    };
  },
  'C+ receive, 1514 bytes': () => {
    const { chip, view, write, frame } = setUp();
    write(0xe0, 2, 3);
    write(0xe4, 4, RAM + 0x1000);
    view.setUint32(0x1008, RAM + 0x1_0000, true);
    return () => {
      view.setUint32(0x1000, 0xc0000600, true);
      if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
    };
  },
  'C receive, 1514 bytes': () => {
    const { chip, write, frame } = setUp();
    write(0x44, 4, 0x180e);
    write(0x30, 4, RAM + 0x1_0000);
    return () => {
      if (chip.receive(frame, FRAME) !== 'accepted') throw new Error('not received');
      write(0x38, 2, (chip.readBar(1, 0x3a, 2) - 16) & 0xffff);
    };
  },
};

const results = Object.entries(cases).map(([name, make]) => {
  const work = make();
  const count = name.includes('1514') ? 4000 : 100_000;
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
  return { name, ns: times[ROUNDS >> 1]!, min: times[0]!, max: times.at(-1)!, heapBytes: grown[0] ?? NaN };
});

if (process.argv.includes('--json')) console.log(JSON.stringify(results, null, 1));
else
  for (const r of results)
    console.log(
      `${r.name.padEnd(40)} ${r.ns.toFixed(0).padStart(6)} ns (${r.min.toFixed(0)} … ${r.max.toFixed(0)}), ${r.heapBytes.toFixed(1)} heap bytes`,
    );
