/** A stock Debian kernel, its own drivers, this machine: as `xenolith run` has it, and put together here. Needs dist/. */
import { withoutMachineFrame } from './machine-frame.ts';
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { describeFrame } from '../src/analyze/sources/ethernet.ts';
import { readCapture } from '../src/analyze/sources/pcap.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine } from '../src/machine/guest.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine, type MachineSinks } from '../src/machine/machine.ts';
import { parseMac } from '../src/net/frame.ts';
import { TRC_HVM_NPF, TRC_MEM_SET_P2M_ENTRY, TRC_TRACE_WRAP_BUFFER } from '../src/trace/events.ts';
import { openTrace } from '../src/trace/index.ts';
import { entry, guestImages, lackOf } from './needs.ts';

const root = join(import.meta.dirname, '..');
const lack = await lackOf('guest');
const lackOfCommand = await lackOf('built', 'guest');
const peers = { xenalyze: await lackOf('xenalyze'), tshark: await lackOf('tshark') };

const folder = mkdtempSync(join(tmpdir(), 'xenolith-linux-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** One run of the command with all its files. */
interface Run {
  readonly path: (file: 'trace' | 'log' | 'pcap' | 'console') => string;
  readonly bytes: (file: 'trace' | 'log' | 'pcap' | 'console') => Buffer;
  readonly text: (file: 'log' | 'console') => string;
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

function xenolith(name: string, ...args: string[]): Promise<Run> {
  const path: Run['path'] = (file) => join(folder, name, file);
  mkdirSync(join(folder, name));
  const files = ['--trace', path('trace'), '--dm-log', path('log'), '--pcap', path('pcap'), '--console', path('console')];
  const bytes: Run['bytes'] = (file) => readFileSync(path(file));
  return new Promise((resolve) =>
    execFile(process.execPath, [entry, 'run', 'guest.cfg', ...files, ...args], { cwd: root }, (error, stdout, stderr) =>
      resolve({
        path,
        bytes,
        text: (file) => bytes(file).toString('latin1'),
        status: error === null ? 0 : Number(error.code),
        stdout,
        stderr,
      }),
    ),
  );
}

const FAULTS = /Call Trace|unchecked MSR|BUG:|WARNING:/;
const MISSING_HANDLER = /Strange, exit [0-9a-f]+\((\w+)\) missing a handler/;
const xenalyze = (trace: string, ...args: string[]) =>
  spawnSync('xenalyze', ['--cpu-hz=1G', ...args, trace], { encoding: 'utf8', maxBuffer: 1 << 30 });

describe.skipIf(lackOfCommand.skip)(lackOfCommand.title('xenolith run with a stock Debian guest'), () => {
  const runs = {} as Record<'plain' | 'again' | 'seed 2' | 'seed 3' | '8139too' | 'worker', Run>;
  beforeAll(async () => {
    const own = (kernel: string): string[] => [
      '--kernel',
      kernel,
      '--initrd',
      guestImages().initrd,
      '--append',
      guestCommandLine({ driver: '8139cp' }),
    ];
    const virtual = ['--clock', 'virtual', '--device-model', 'inline'];
    // Two at a time.
    await Promise.all([
      (async () => {
        runs.plain = await xenolith('plain', ...virtual);
        runs['seed 2'] = await xenolith('seed2', ...virtual, '--seed', '2', ...own(guestImages().vmlinuz));
        runs['8139too'] = await xenolith(
          '8139too',
          '--driver',
          '8139too',
          '--memory',
          '3840',
          '--append',
          'nopv lapic=notscdeadline clocksource=hpet tsc=unstable',
        );
      })(),
      (async () => {
        runs.again = await xenolith('again', ...virtual, '--story');
        runs['seed 3'] = await xenolith('seed3', ...virtual, '--seed', '4294967295', ...own(guestImages().vmlinux));
        runs.worker = await xenolith('worker', '--device-model', 'worker');
      })(),
    ]);
  });

  it('finds its NIC, loads 8139cp, pings the host and powers off', () => {
    const { status, stderr, text } = runs.plain;
    const console = text('console');
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^xenolith: the guest powered off \(.* of modelled time/)]);
    expect(console).toContain('Booting paravirtualized kernel on Xen HVM');
    expect(console).toContain('RTL-8139C+');
    expect(console).toContain('00:16:3e:01:02:03, IRQ 28');
    expect(console).toContain('link up');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).not.toMatch(FAULTS);
  });

  it('twice: trace, log, capture and console are the same to the byte', () => {
    for (const file of ['trace', 'log', 'pcap', 'console'] as const) {
      expect([file, runs.plain.bytes(file).length > 1000]).toEqual([file, true]);
      expect([file, runs.again.bytes(file).equals(runs.plain.bytes(file))]).toEqual([file, true]);
    }
  });

  it('README.md tells the story of this run, numbers aside', () => {
    const plain = (text: string): string => text.replaceAll(/0x[0-9a-f]+|\b[0-9a-f]{8}\b|\d[\d.]*/g, '#').replaceAll(/\s+/g, ' ');
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const start = readme.indexOf('\nPacket ');
    const shown = readme.slice(start, readme.indexOf('```', start)).trim().split('\n\n');
    expect(shown.length).toBeGreaterThan(2);
    for (const part of shown) expect(plain(runs.again.stdout)).toContain(plain(part));
  });

  it.each(['seed 2', 'seed 3'] as const)(
    '%s, from a bzImage and from a vmlinux named with its initrd: console, log and capture are the same, the trace differs in machine frames only',
    async (name) => {
      const other = runs[name];
      expect(other.status).toBe(0);
      for (const file of ['console', 'pcap'] as const)
        expect([file, other.bytes(file).equals(runs.plain.bytes(file))]).toEqual([file, true]);
      expect(withoutMachineFrame(other.text('log'))).toBe(withoutMachineFrame(runs.plain.text('log')));
      const [one, two] = [runs.plain.bytes('trace'), other.bytes('trace')];
      expect(two.length).toBe(one.length);
      const words = (bytes: Buffer): Uint32Array =>
        new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
      const [first, second] = [words(one), words(two)];
      /** Machine frames of one run to those of the other: one to one, wherever a frame is named. */
      const frames = new Map<number, number>();
      let different = 0;
      for await (const {
        offset,
        event,
        words: { length },
      } of await openTrace(new Uint8Array(one), { cpuHz: 1e9 })) {
        // It fills the rest of a ring up, with what lay there.
        if (event === TRC_TRACE_WRAP_BUFFER) continue;
        // Both have a guest frame or address of 64 bits, then the machine frame; bit 31 of a header says that a time follows it.
        const data = offset / 4 + (first[offset / 4]! >>> 31 === 1 ? 3 : 1);
        const mfn = data + 2;
        const named = event === TRC_MEM_SET_P2M_ENTRY || event === TRC_HVM_NPF;
        for (let at = offset / 4; at < data + length; at++) {
          if (first[at] === second[at]) continue;
          if (!named || at !== mfn)
            throw new Error(
              `record at 0x${offset.toString(16)}, event 0x${event.toString(16)}: word ${at - data} is 0x${first[at]!.toString(16)} and 0x${second[at]!.toString(16)}`,
            );
          different++;
          const before = frames.get(first[at]!);
          if (before !== undefined && before !== second[at])
            throw new Error(`machine frame 0x${first[at]!.toString(16)} is two of the other run's`);
          frames.set(first[at]!, second[at]!);
        }
      }
      expect(different).toBeGreaterThan(30_000);
      expect(new Set(frames.values()).size).toBe(frames.size);
    },
  );

  it('one guest-physical address: what the driver writes into the register stands in the ioreq, in the descriptor fetch and in the map cache', async () => {
    const log = runs.plain.text('log');
    const ring = /handle_ioreq_write .* port=0xf0000020 data=(0x[0-9a-f]+) count=1 size=4/.exec(log)![1]!;
    expect(log).toMatch(/memory_region_ops_write .* addr 0xc0d9 value 0x40 size 1 name 'rtl8139'/);
    const fetch = log.indexOf(`reading TX descriptor 0 from host memory at 00000000 ${ring.slice(2).padStart(8, '0')} = `);
    expect(fetch).toBeGreaterThan(0);
    const [, wanted] = /xen_map_cache want (0x[0-9a-f]+)/.exec(log.slice(fetch))!;
    expect(wanted).toBe(ring);
    // The machine frame behind it is another number.
    const frame = Number(ring) >>> 12;
    expect(await machineFrame(runs.plain.bytes('trace'), frame)).not.toBe(frame);
  });

  it('a bucket of the map cache is mapped when it is first touched, and never again', () => {
    const touched = new Set<number>();
    let remaps = 0;
    const lines = runs.plain
      .text('log')
      .split('\n')
      .filter((line) => /xen_map_cache want|xen_remap_bucket/.test(line));
    lines.forEach((line, i) => {
      const wanted = /xen_map_cache want (0x[0-9a-f]+)/.exec(line)?.[1];
      if (wanted === undefined) return;
      const bucket = Math.floor(Number(wanted) / 0x100000);
      const remapped = /xen_remap_bucket index (0x[0-9a-f]+)/.exec(lines[i + 1] ?? '')?.[1];
      expect([wanted, remapped]).toEqual([wanted, touched.has(bucket) ? undefined : `0x${bucket.toString(16)}`]);
      if (remapped !== undefined) remaps++;
      touched.add(bucket);
    });
    expect([remaps, touched.size, lines.length > 50]).toEqual([
      lines.filter((line) => line.includes('remap')).length,
      remaps,
      true,
    ]);
    expect(runs.plain.stderr).toContain(`${remaps} remaps)`);
  });

  it('8139too, without anything of Xen, calibrated against the PIT, with the HPET for a clock: to the end of ping and power off', () => {
    const { status, text } = runs['8139too'];
    const console = text('console');
    expect(console).toMatch(/tsc: Fast TSC calibration using PIT|tsc: PIT calibration matches/);
    expect(console).toMatch(/tsc: Detected (999|1000)\.\d+ MHz processor/);
    expect(console).toContain('Booting paravirtualized kernel on bare hardware');
    // As much memory as a guest can have: half its frames lie above 2 GiB of the machine's.
    expect(console).toMatch(/Memory: \d+K\/393\d{4}K available/);
    expect(console).toContain('Switched to clocksource hpet');
    expect(console).toContain('RealTek RTL8139');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).toContain('reboot: Power down');
    expect(console).not.toMatch(FAULTS);
    expect(status).toBe(0);
  });

  describe('its device model in a Worker', () => {
    it('gives the guest the same results as inline', () => {
      const { status, stderr, text } = runs.worker;
      expect([status, stderr]).toEqual([0, expect.stringMatching(/of real time/)]);
      expect(text('console')).not.toMatch(FAULTS);
      // What the driver and the guest's programs say, without times, hashed pointers and what is measured.
      const results = (console: string): string[] =>
        console
          .slice(console.indexOf('8139cp: 8139cp:'))
          .split('\n')
          .filter((line) => !line.startsWith('[') || /8139cp|reboot:/.test(line))
          .map((line) =>
            line
              .replace(/^\[ *[\d.]+\] /, '')
              .replace(/at 0x[0-9a-f]+/, '')
              .replace(/time=.*| = [\d./]+ ms/, '')
              .trim(),
          );
      expect(results(text('console'))).toEqual(results(runs.plain.text('console')));
      // What the driver wrote into the chip to read its EEPROM: not a bit more, not a bit less.
      const eeprom = (log: string): string[] =>
        [...log.matchAll(/handle_ioreq_write .* type=1 .* port=0xf0000050 data=(\S+) count=1 size=1/g)].map(([, data]) => data!);
      expect(eeprom(runs.plain.text('log')).length).toBeGreaterThan(200);
      expect(eeprom(text('log'))).toEqual(eeprom(runs.plain.text('log')));
      // What crossed the wire, but for IPv6, whose frames depend on delays.
      const frames = (run: Run): string[] =>
        readCapture(run.bytes('pcap'), 'pcap')
          .frames.map((frame) => describeFrame(frame.data))
          .filter((frame) => /^ARP|^ICMP /.test(frame))
          .map((frame) => frame.replace(/ id \d+/, ''));
      expect(frames(runs.plain)).toHaveLength(8);
      expect(frames(runs.worker)).toEqual(frames(runs.plain));
    });
  });

  describe.each(['plain', 'worker'] as const)('what the peers say of its files (%s)', (name) => {
    it.skipIf(peers.xenalyze.skip)(peers.xenalyze.title('xenalyze sums the trace up without a complaint'), () => {
      const { status, stdout, stderr } = xenalyze(runs[name].path('trace'), '--summary');
      expect(status).toBe(0);
      const usual =
        /^(Using VMX|Creating |init_pcpus: through|scan_for_new_pcpu: Activating|read_record: read returned zero, deactivating|deactivate_pcpu: (setting d\d+v\d+ to state LOST|Setting max_active_pcpu)|Unknown hvm event)/;
      // A read that waits is recorded when its answer is in, after the vCPU was switched: on a real host too xenalyze says so,
      // once an exit reason.
      const rest = stderr.split('\n').filter((line) => line !== '' && !usual.test(line));
      expect(rest.filter((line) => !MISSING_HANDLER.test(line))).toEqual([]);
      expect(new Set(rest).size).toBe(rest.length);
      expect(stdout).toMatch(/EPT_VIOLATION/);
    });

    it.skipIf(peers.xenalyze.skip)(
      peers.xenalyze.title('xenalyze shows the doorbell in VMX order, and no record out of place'),
      () => {
        const { status, stdout } = xenalyze(runs[name].path('trace'), '--dump-all');
        expect(status).toBe(0);
        const lines = stdout.split('\n');
        expect(lines.filter((line) => /skew|Not updating|returned -|WARNING|unexpected exit/.test(line))).toEqual([]);
        const strange = lines.flatMap((line) => MISSING_HANDLER.exec(line)?.[1] ?? []);
        expect(new Set(strange).size).toBe(strange.length);
        expect(lines.filter((line) => /Strange/.test(line) && !MISSING_HANDLER.test(line))).toEqual([]);
        const doorbell = lines.findIndex((line) => /d1v0 mmio_assist w gpa f00000d9 data 40/.test(line));
        const hops = [
          /d1v0 vmexit exit_reason EPT_VIOLATION/,
          /d1v0 npf gpa f00000d9 .* mfn ffffffffffffffff t 4/,
          /d1v0 mmio_assist w gpa f00000d9/,
          /d1v0 running->offline/,
          /d0v0 vcpu_wake d1v0/,
          /d1v0 offline->runnable/,
          /d1v0 vmentry/,
        ];
        const found: number[] = [];
        let at = doorbell - 2;
        for (const hop of hops) {
          at = lines.findIndex((line, i) => i >= at && hop.test(line));
          found.push(at);
        }
        expect(found.slice(0, 3)).toEqual([doorbell - 2, doorbell - 1, doorbell]);
        expect(found.every((line, i) => line >= 0 && line - doorbell < 60 && (i === 0 || line >= found[i - 1]!))).toBe(true);
      },
    );

    it.skipIf(peers.tshark.skip)(peers.tshark.title('tshark sees ARP, three requests and three replies, checksums good'), () => {
      const { status, stdout } = spawnSync(
        'tshark',
        [
          '-r',
          runs[name].path('pcap'),
          '-o',
          'ip.check_checksum:TRUE',
          '-Y',
          'arp or icmp',
          '-T',
          'fields',
          '-E',
          'separator=,',
          '-e',
          'arp.opcode',
          '-e',
          'icmp.type',
          '-e',
          'icmp.checksum.status',
          '-e',
          'ip.checksum.status',
          '-e',
          'icmp.seq',
        ],
        { encoding: 'utf8' },
      );
      expect(status).toBe(0);
      const lines = stdout
        .trim()
        .split('\n')
        .map((line) => line.split(','));
      expect(lines.filter(([opcode]) => opcode !== '').map(([opcode]) => opcode)).toEqual(expect.arrayContaining(['1', '2']));
      const echo = lines.filter(([, type]) => type !== '');
      expect(echo.map(([, type]) => type)).toEqual(['8', '0', '8', '0', '8', '0']);
      expect(echo.every(([, , icmp, ip]) => icmp === '1' && ip === '1')).toBe(true);
    });
  });
});

/** Machine frame of a guest frame, as the trace's first record of it says. */
async function machineFrame(trace: Buffer, gfn: number): Promise<number> {
  for await (const { decoded } of await openTrace(new Uint8Array(trace), { cpuHz: 1e9 })) {
    if (decoded.kind === 'event' && decoded.name === 'set_p2m_entry' && Number(decoded.fields['gfn']) === gfn)
      return Number(decoded.fields['mfn']);
  }
  throw new Error(`no p2m record of gfn 0x${gfn.toString(16)}`);
}

describe.skipIf(lack.skip)(lack.title('Linux on this machine'), () => {
  const boot = async (
    commandLine: string,
    options: { kernel?: string; type?: 'hvm' | 'pvh'; revision?: number; untilMs?: number; sinks?: MachineSinks } = {},
  ) => {
    let text = '';
    const machine = new InlineMachine(
      {
        name: 'linux',
        clock: 'virtual',
        engine: engineFactory(),
        nics: [
          {
            model: 'rtl8139',
            mac: parseMac('00:16:3e:00:00:01'),
            ...(options.revision === undefined ? {} : { revision: options.revision }),
          },
        ],
        domain: {
          memoryMiB: 256,
          vcpus: 1,
          type: options.type ?? 'hvm',
          commandLine,
          hpet: true,
          kernel: await loadKernelImage(readFileSync(options.kernel ?? guestImages().vmlinux), 'kernel'),
          ramdisk: readFileSync(guestImages().initrd),
        },
      },
      { ...options.sinks, console: (bytes) => (text += Buffer.from(bytes).toString('latin1')) },
    );
    const end = machine.run((options.untilMs ?? 30_000) * 1e6);
    return { end, machine, console: text };
  };

  it('does the same from its bzImage with 8139too, by DHCP, without anything of Xen, timers calibrated against the PIT, the HPET and the PM timer', async () => {
    const { end, console } = await boot(
      `${guestCommandLine({ driver: '8139too', address: 'dhcp' })} nopv lapic=notscdeadline clocksource=acpi_pm tsc=unstable`,
      { revision: 0x10, kernel: guestImages().vmlinuz },
    );
    expect(console).toMatch(/tsc: Fast TSC calibration using PIT|tsc: PIT calibration matches/);
    expect(console).toMatch(/tsc: Detected (999|1000)\.\d+ MHz processor/);
    expect(console).toContain('Switched to clocksource acpi_pm');
    expect(console).toContain('RealTek RTL8139');
    expect(console).toContain('guest: eth0 has 10.0.2.15/24 from 10.0.2.2');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).not.toMatch(/Call Trace|unchecked MSR|BUG:|WARNING:/);
    expect(end).toBe('shutdown');
  });

  it('says PVH when it is entered by its PVH note', async () => {
    const { console } = await boot('console=ttyS0', { type: 'pvh', untilMs: 400 });
    expect(console).toContain('kernel on Xen PVH');
  });
});
