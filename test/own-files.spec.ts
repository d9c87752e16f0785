import { describe, expect, it } from 'vitest';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { traceToWallUs } from '../src/analyze/join/clock.ts';
import { openAnalysis } from '../src/analyze/files-node.ts';
import {
  analyze,
  explainFiles,
  ioPaths,
  joinLines,
  registerNames,
  renderStory,
  theGuest,
  type AnalysisInput,
  type Guest as TracedGuest,
  type Story,
} from '../src/analyze/index.ts';
import { claim } from '../src/analyze/sources/evidence.ts';
import { gfn } from '../src/base/address.ts';
import { ExitReason } from '../src/cpu/interface.ts';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { FakeVcpu, type Guest } from '../src/hypervisor/testing/fake-vcpu.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { assembleTinyGuest } from '../src/machine/tiny-guest/image.ts';
import { openTrace } from '../src/trace/index.ts';
import { arpFrame, parseIpv4, parseMac } from '../src/net/frame.ts';
import { PcapngWriter } from '../src/net/pcapng.ts';
import { CplusDriver } from '../src/device-model/testing/cplus-driver.ts';
import { HandClock } from '../src/device-model/testing/fake-hypervisor.ts';
import { GUEST_MAC, NIC_MMIO, setUp } from '../src/device-model/testing/set-up.ts';

/** One ARP request sent through our own device model: its log and its capture. */
function run(logForm: 'trace' | 'classic'): { log: string[]; pcap: Uint8Array } {
  const captured: Uint8Array[] = [];
  const clock = new HandClock();
  const pcap = new PcapngWriter({ clock, interfaces: ['vif1.0'], sink: (bytes) => captured.push(bytes) });
  const machine = setUp({ logForm, pcap });
  clock.nowNs = () => machine.clock.ns;
  const driver = new CplusDriver(machine.hv, NIC_MMIO);
  driver.start();
  const guest = { mac: parseMac(GUEST_MAC), ip: parseIpv4('10.0.2.15') };
  driver.send(arpFrame('request', guest, { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') }, new Uint8Array(6).fill(0xff)));
  while (machine.dm.inFlight > 0) {
    machine.clock.ns = machine.dm.nextDeadlineNs;
    machine.dm.runUntilIdle();
  }
  machine.dm.flush();
  return { log: [...machine.lines], pcap: Buffer.concat(captured) };
}

const tell = (files: { log: string[]; pcap: Uint8Array }, packet?: number): Promise<Story> =>
  explainFiles({ dmLog: files.log, pcap: files.pcap, clock: 'modelled', packet });

/** The only guest of an analysis. */
const theOne = async (input: AnalysisInput): Promise<TracedGuest> => theGuest(await analyze(input));

describe('files that our own device model writes', () => {
  it('give the story of the packet sent, with descriptor, frame, interrupt and remaps', async () => {
    const story = await tell(run('trace'), 1);
    expect(story.clock.value).toBe('modelled');
    expect(story.hops.every((h) => h.atNs === undefined || h.clock === 'modelled')).toBe(true);
    const text = renderStory(story, { width: 10_000 });
    expect(text).toContain('Packet 1 of the capture: ARP who has 10.0.2.2 tell 10.0.2.15');
    expect(text).toContain(
      "The frame that left is number 1 of the capture: the capture's comment names the request that sent it",
    );
    expect(text).toContain(
      'reads descriptor 0 at guest-physical 0x100000 (b000003c 00000000 00200802 00000000: OWN, first, last, 60 bytes)',
    );
    expect(text).toContain('fetches the frame, 60 bytes, from guest-physical 0x200802');
    expect(text).toContain('raises the interrupt line: IntrStatus (TxOK), mask 0x5');
    expect(text).toContain('0x200802 was not in the map cache: the device model logs a remap of bucket 0x2');
    expect(text).toContain(
      'it wrote 0x100000 into TxRingAddr, and the device model looked for descriptor 0 at 0x100000, unchanged',
    );
  });

  it('tell a received frame apart', async () => {
    const story = await tell(run('trace'), 2);
    expect(story.title).toContain('received by the guest');
    const text = renderStory(story, { width: 10_000 });
    expect(story.hops.map((h) => h.where)).toEqual(['wire', 'device model', 'device model']);
    expect(text).toContain('looks at receive descriptor 0, guest-physical 0x100100');
    expect(text).toContain('writes the frame to guest-physical 0x300000');
  });

  it('in the older log form: no times, the same addresses', async () => {
    const story = await tell(run('classic'));
    expect(story.hops.every((h) => h.atNs === undefined)).toBe(true);
    const text = renderStory(story, { width: 10_000 });
    expect(text).toContain('fetches the frame, 60 bytes, from guest-physical 0x200802');
    expect(text).toContain('The frame on the wire: the doorbell has no wall-clock time to find the frame by.');
  });

  it('a log alone has no accesses of a trace to pair', async () => {
    const a = await theOne({ dmLog: run('trace').log });
    expect([...ioPaths(a)]).toEqual([]);
    expect(a.windows).toContainEqual(
      expect.objectContaining({ space: 'mmio', base: NIC_MMIO, found: expect.objectContaining({ strength: 'proven' }) }),
    );
  });
});

const TX_RING = 0x200100;
const RX_RING = 0x200000;
const FRAME = 0x202000;
const BAR = 0xf0000000;

/** A guest that sends one ARP request by the C+ rings and sleeps until its interrupt. */
function* sendArp(v: FakeVcpu, rxConfig: number): Guest {
  v.registers.rflags |= 0x200;
  yield* v.write(0xfec00000, 4, 0x10 + 28 * 2);
  yield* v.write(0xfec00010, 4, 0xa030);
  yield* v.write(BAR + 0xe0, 2, 3);
  yield* v.write(BAR + 0x20, 4, TX_RING);
  yield* v.write(BAR + 0xe4, 4, RX_RING);
  yield* v.write(BAR + 0x37, 1, 0xc);
  yield* v.write(BAR + 0x44, 4, rxConfig);
  yield* v.write(BAR + 0x3c, 2, 5);
  yield* v.write(RX_RING, 4, 0xc0000800);
  yield* v.write(RX_RING + 8, 4, 0x201000);
  const frame = arpFrame(
    'request',
    { mac: parseMac(GUEST_MAC), ip: parseIpv4('10.0.2.15') },
    { mac: new Uint8Array(6), ip: parseIpv4('10.0.2.2') },
    new Uint8Array(6).fill(0xff),
  );
  for (let i = 0; i < frame.length; i++) yield* v.write(FRAME + i, 1, frame[i]!);
  yield* v.write(TX_RING, 4, 0xf0000000 + frame.length);
  yield* v.write(TX_RING + 8, 4, FRAME);
  yield* v.write(BAR + 0xd9, 1, 0x40);
  while (!v.delivered.includes(0x30)) yield ExitReason.hlt;
  yield* v.read(BAR + 0x3e, 2);
  yield* v.write(BAR + 0x3e, 2, 0xffff);
  yield* v.write(0xfee000b0, 4, 0);
  yield* v.out(0xb004, 2, 0x2000);
  for (;;) yield ExitReason.budget;
}

/** Trace, log and capture of a whole machine with a scripted guest, which writes this to RxConfig. */
function wholeMachine(rxConfig = 0xe70a) {
  const trace: Uint8Array[] = [];
  const pcap: Uint8Array[] = [];
  let log = '';
  let vcpu: FakeVcpu | undefined;
  const m = new InlineMachine(
    {
      name: 'test',
      clock: 'virtual',
      nics: [{ model: 'rtl8139', mac: parseMac(GUEST_MAC) }],
      domain: {
        memoryMiB: 16,
        vcpus: 1,
        type: 'hvm',
        kernel: { kind: 'elf', elf: readElf(assembleTinyGuest()) },
        commandLine: '',
        hpet: true,
      },
      engine: {
        areaSize: 0x1000,
        create: ({ memory, p2m }) => {
          vcpu = new FakeVcpu(memory, p2m as never);
          return vcpu;
        },
      },
    },
    {
      trace: (bytes) => trace.push(Uint8Array.from(bytes)),
      pcap: (bytes) => pcap.push(Uint8Array.from(bytes)),
      log: (text) => {
        log += text;
      },
    },
  );
  vcpu!.start((v) => sendArp(v as FakeVcpu, rxConfig));
  expect(m.run()).toBe('shutdown');
  return { m, trace: Buffer.concat(trace), pcap: Buffer.concat(pcap), log: log.split('\n') };
}

describe('files of a whole machine of our own', () => {
  it('hold the packet in every address space: GPA, MFN, mapping, and GVA where the machine gives it', async () => {
    const files = wholeMachine();
    const story = await explainFiles({
      trace: await openTrace(files.trace, { cpuHz: files.m.clock.tscHz }),
      dmLog: files.log,
      pcap: files.pcap,
      clock: 'modelled',
      gvaOf: (gpa) => claim(0xffff_8880_0000_0000n + BigInt(gpa), 'proven', 'the guest has it mapped there', []),
    });
    const text = renderStory(story, { width: 10_000 });
    const frame = story.addresses.find((r) => r.what === 'frame buffer')!;
    expect(frame.gpa.value).toBe('0x202000');
    expect(frame.mfn).toMatchObject({ value: `0x${files.m.p2m.getMfn(gfn(0x202)).toString(16)}`, strength: 'proven' });
    expect(frame.mapping.value).toMatch(/^0x7f/);
    expect(frame.gva.value).toBe('0xffff888000202000');
    // Paging is off: the exit's linear address is the guest-physical one.
    expect(files.m.hvm.vmx.mmioLinear.get(gfn(0xf0000))).toBe(0xf0000000n);
    expect(text).toContain('EPT_VIOLATION');
    expect(text).toContain('injects vector 0x30 into d1v0, taken for the vector of this device: injected before');
    expect(text).toContain('reads IntrStatus (RxOK TxOK) = 0x5: the next read of the interrupt cause');
    expect(story.hops.every((h) => h.atNs === undefined || h.clock === 'modelled')).toBe(true);
    expect(story.hops.filter((h) => h.atNs === undefined).map((h) => h.text)).toEqual([
      expect.stringMatching(
        /^fills slot 0 of the synchronous ioreq page, .* the page is machine frame 0x[0-9a-f]+, the port is number \d+ of/,
      ),
    ]);
  });

  it('pair every device access with the log and leave what Xen serves itself apart', async () => {
    const files = wholeMachine();
    const a = await theOne({
      trace: await openTrace(files.trace, { cpuHz: files.m.clock.tscHz }),
      dmLog: files.log,
      pcap: files.pcap,
    });
    const paths = [...ioPaths(a)];
    const nic = paths.filter((p) => p.window?.chip.name === 'rtl8139');
    expect(nic.map((p) => registerNames(p))).toEqual([
      'CpCmd',
      'TxRingAddr',
      'RxRingAddr',
      'ChipCmd',
      'RxConfig',
      'IntrMask',
      'TxPoll',
      'IntrStatus',
      'IntrStatus',
    ]);
    expect(nic.every((p) => p.request !== undefined && p.route.value === 'synchronous ioreq')).toBe(true);
    expect(paths.filter((p) => p.route.value === 'in the hypervisor').map((p) => p.access.addr)).toEqual([
      0xfec00000, 0xfec00010, 0xfee000b0,
    ]);
    expect(a.clock).toMatchObject({
      by: 'log header',
      errorUs: 0,
      rate: 1,
      headerContradictedBy: 0,
      pairsUsed: a.pairing!.pairs,
    });
  });

  it('of two runs that differ in one value: the log is left out', async () => {
    const [one, other] = [wholeMachine(), wholeMachine(0xe70e)];
    const a = await analyze({
      trace: await openTrace(one.trace, { cpuHz: one.m.clock.tscHz }),
      dmLogs: [{ lines: other.log, name: 'dm.log' }],
      pcap: other.pcap,
    });
    expect(a.leftOut).toEqual([
      expect.stringMatching(
        /^dm\.log is left out: it is not of the same run as the trace \(at line \d+ it has data 0xe70e for the very access that has 0xe70a in the trace\)$/,
      ),
    ]);
    expect(a.guests[0]!.log).toBeUndefined();
  });

  it("lie on one clock: no line of the device model is outside dom0's running interval, no hop of a story either", async () => {
    const files = wholeMachine();
    const input = { trace: await openTrace(files.trace, { cpuHz: files.m.clock.tscHz }), dmLog: files.log, pcap: files.pcap };
    const a = await theOne(input);
    let checked = 0;
    for (const { access, request, dma } of ioPaths(a)) {
      if (request === undefined) continue;
      const { modelRuns, woken } = access.marks;
      const inside = (timeUs: number): void => {
        expect(timeUs, `log line of request ${request.request.line}`).toBeGreaterThanOrEqual(
          traceToWallUs(a.clock!, modelRuns!.timeNs),
        );
        expect(timeUs).toBeLessThanOrEqual(traceToWallUs(a.clock!, woken!.timeNs));
        checked++;
      };
      inside(request.request.timeUs!);
      inside(request.endTimeUs!);
      for (const d of dma) inside(a.log!.requests.flatMap((r) => r.dma).find((x) => x.line === d.line)!.timeUs!);
    }
    expect(checked).toBeGreaterThan(20);

    const { hops } = await explainFiles({ ...input, packet: 1 });
    const runs = hops.findIndex((h) => h.where === 'dom0 d0v0' && h.text === 'runs.');
    const answer = hops.findIndex((h) => h.text.includes('has the answer'));
    const between = hops.filter((h) => h.where === 'device model' || h.where === 'wire');
    expect(between.length).toBeGreaterThanOrEqual(4);
    expect(hops.slice(runs + 1, answer)).toEqual(between);
    for (const h of between) {
      expect(h.atNs! - h.errorNs).toBeGreaterThanOrEqual(hops[runs]!.atNs!);
      expect(h.atNs! + h.errorNs).toBeLessThanOrEqual(hops[answer]!.atNs!);
    }
    const times = hops.flatMap((h) => (h.atNs === undefined ? [] : [h.atNs]));
    expect(times).toEqual([...times].sort((x, y) => x - y));
    expect(between.every((h) => h.errorNs === 0)).toBe(true);
  });

  it('are aligned by their pairs where the header does not fit them, and say so', async () => {
    const files = wholeMachine();
    const trace = await openTrace(files.trace, { cpuHz: files.m.clock.tscHz });
    const moved = files.log[0]!.replace(/TSC 0 at (\d+)\./, (_, s: string) => `TSC 0 at ${Number(s) + 1}.`);
    expect(moved).not.toBe(files.log[0]);
    const a = await theOne({ trace, dmLog: [moved, ...files.log.slice(1)] });
    expect(a.clock).toMatchObject({ by: 'pairs', consistent: true, headerLine: 1, headerContradictedBy: a.pairing!.pairs });
    expect(joinLines({ ...a, guests: [a] }).find((l) => l.startsWith('clocks: '))).toContain(
      'the TSC rate in log line 1 contradicts',
    );
    const without = await theOne({ trace, dmLog: [files.log[0]!.replace(/, TSC.*/, ''), ...files.log.slice(1)] });
    expect(without.clock).toMatchObject({ by: 'pairs', consistent: true, headerLine: undefined });
    expect(without.clock!.errorUs).toBeLessThan(5);
  });

  it("by pairs of a coarse log: what the clocks leave open is told within dom0's running time", async () => {
    const files = wholeMachine();
    const coarse = files.log.map((line) => line.replace(/, TSC.*/, '').replace(/^(\d+@\d+\.\d{6})\d+:/, '$1:'));
    const input = { trace: await openTrace(files.trace, { cpuHz: files.m.clock.tscHz }), dmLog: coarse, pcap: files.pcap };
    expect((await theOne(input)).clock!.errorUs).toBeGreaterThan(0.3);
    const { hops } = await explainFiles({ ...input, packet: 1 });
    const runs = hops.find((h) => h.where === 'dom0 d0v0' && h.text === 'runs.')!;
    const answer = hops.find((h) => h.text.includes('has the answer'))!;
    const steps = hops.filter((h) => h.where === 'device model' && h.atNs !== undefined);
    expect(steps.length).toBeGreaterThanOrEqual(3);
    for (const h of steps) {
      expect(h.atNs! - h.errorNs, h.text).toBeGreaterThanOrEqual(runs.atNs! - 1);
      expect(h.atNs! + h.errorNs, h.text).toBeLessThanOrEqual(answer.atNs! + 1);
    }
  });

  it("need no --cpu-hz: the log's first line tells the rate", async () => {
    const files = wholeMachine();
    const folder = mkdtempSync(join(tmpdir(), 'xenolith-'));
    try {
      writeFileSync(join(folder, 'trace.bin'), files.trace);
      writeFileSync(join(folder, 'dm.log'), files.log.join('\n'));
      const { input, close } = await openAnalysis({ files: [join(folder, 'trace.bin')], dmLog: join(folder, 'dm.log') });
      expect(input.trace!.scale.hz).toBe(files.m.clock.tscHz);
      await close();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
