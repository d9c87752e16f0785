import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { UserError } from '../src/base/errors.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { guestCommandLine, type GuestImages } from '../src/machine/guest.ts';
import { buildLinuxGuest } from '../src/machine/guest-node.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine, type MachineSinks } from '../src/machine/machine.ts';
import { parseMac } from '../src/net/frame.ts';

let images: GuestImages | undefined;
try {
  images = await buildLinuxGuest();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  console.warn(`left out: ${error.message}`);
}

const folder = mkdtempSync(join(tmpdir(), 'xenolith-linux-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const there = (program: string): boolean => {
  const found = spawnSync(program, ['--version']).error === undefined;
  if (!found) console.warn(`left out: no ${program} here`);
  return found;
};
const peers = { xenalyze: there('xenalyze'), tshark: there('tshark') };

/** A stock Debian kernel, its own drivers, this machine. */
describe.runIf(images)('Linux on this machine', () => {
  const boot = async (commandLine: string, options: { kernel?: string; type?: 'hvm' | 'pvh'; revision?: number; untilMs?: number; sinks?: MachineSinks } = {}) => {
    let text = '';
    const machine = new InlineMachine({
      name: 'linux', clock: 'virtual', engine: engineFactory(),
      nics: [{ model: 'rtl8139', mac: parseMac('00:16:3e:00:00:01'), ...(options.revision === undefined ? {} : { revision: options.revision }) }],
      domain: {
        memoryMiB: 256, vcpus: 1, type: options.type ?? 'hvm', commandLine, hpet: true,
        kernel: await loadKernelImage(readFileSync(options.kernel ?? images!.vmlinux), 'kernel'), ramdisk: readFileSync(images!.initrd),
      },
    }, { ...options.sinks, console: (bytes) => (text += Buffer.from(bytes).toString('latin1')) });
    const end = machine.run((options.untilMs ?? 30_000) * 1e6);
    return { end, machine, console: text };
  };

  it('finds its NIC, loads 8139cp, pings the host and powers off', async () => {
    const log: string[] = [];
    const trace: Buffer[] = [];
    const pcap: Buffer[] = [];
    const { end, machine, console } = await boot(guestCommandLine({ driver: '8139cp' }), {
      sinks: { log: (text) => log.push(text), trace: (bytes) => trace.push(Buffer.from(bytes)), pcap: (bytes) => pcap.push(Buffer.from(bytes)) },
    });
    writeFileSync(join(folder, 'trace'), Buffer.concat(trace));
    writeFileSync(join(folder, 'pcap'), Buffer.concat(pcap));
    expect(console).toContain('Booting paravirtualized kernel on Xen HVM');
    expect(console).toContain('RTL-8139C+');
    expect(console).toContain('00:16:3e:00:00:01, IRQ 28');
    expect(console).toContain('link up');
    expect(console).toContain('3 packets transmitted, 3 packets received');
    expect(console).not.toMatch(/Call Trace|unchecked MSR|BUG:|WARNING:/);
    expect([end, machine.domain.shutdownReason]).toEqual(['shutdown', 0]);
    // The doorbell's address and the descriptor's are guest-physical, both.
    expect(log.join('')).toMatch(/memory_region_ops_write .* addr 0xc0d9 value 0x40 size 1/);
  });

  const xenalyze = (...args: string[]) => spawnSync('xenalyze', ['--cpu-hz=1G', ...args, join(folder, 'trace')], { encoding: 'utf8', maxBuffer: 1 << 30 });
  const MISSING_HANDLER = /Strange, exit [0-9a-f]+\((\w+)\) missing a handler/;

  it.runIf(peers.xenalyze)('leaves a trace that xenalyze sums up without a complaint', () => {
    const { status, stdout, stderr } = xenalyze('--summary');
    expect(status).toBe(0);
    const usual = /^(Using VMX|Creating |init_pcpus: through|scan_for_new_pcpu: Activating|read_record: read returned zero, deactivating|deactivate_pcpu: (setting d\d+v\d+ to state LOST|Setting max_active_pcpu)|Unknown hvm event)/;
    // A read that waits is recorded when its answer is in, after the vCPU was switched: on a real host too xenalyze says so, once an exit reason.
    const rest = stderr.split('\n').filter((line) => line !== '' && !usual.test(line));
    expect(rest.filter((line) => !MISSING_HANDLER.test(line))).toEqual([]);
    expect(new Set(rest).size).toBe(rest.length);
    expect(stdout).toMatch(/EPT_VIOLATION/);
  });

  it.runIf(peers.xenalyze)('shows xenalyze the doorbell in VMX order, and no record out of place', () => {
    const { status, stdout } = xenalyze('--dump-all');
    expect(status).toBe(0);
    const lines = stdout.split('\n');
    expect(lines.filter((line) => /skew|Not updating|returned -|WARNING|unexpected exit/.test(line))).toEqual([]);
    const strange = lines.flatMap((line) => MISSING_HANDLER.exec(line)?.[1] ?? []);
    expect(new Set(strange).size).toBe(strange.length);
    expect(lines.filter((line) => /Strange/.test(line) && !MISSING_HANDLER.test(line))).toEqual([]);
    const doorbell = lines.findIndex((line) => /d1v0 mmio_assist w gpa f00000d9 data 40/.test(line));
    const hops = [/d1v0 vmexit exit_reason EPT_VIOLATION/, /d1v0 npf gpa f00000d9 .* mfn ffffffffffffffff t 4/, /d1v0 mmio_assist w gpa f00000d9/, /d1v0 running->offline/, /d0v0 .*vcpu_wake d1v0|d0v0 vcpu_wake d1v0/, /d1v0 offline->runnable/, /d1v0 vmentry/];
    const found: number[] = [];
    let at = doorbell - 2;
    for (const hop of hops) {
      at = lines.findIndex((line, i) => i >= at && hop.test(line));
      found.push(at);
    }
    expect(found.slice(0, 3)).toEqual([doorbell - 2, doorbell - 1, doorbell]);
    expect(found.every((line, i) => line >= 0 && line - doorbell < 60 && (i === 0 || line >= found[i - 1]!))).toBe(true);
  });

  it.runIf(peers.tshark)('leaves a capture in which tshark sees ARP, three requests and three replies, checksums good', () => {
    const { status, stdout } = spawnSync('tshark', ['-r', join(folder, 'pcap'), '-o', 'ip.check_checksum:TRUE', '-Y', 'arp or icmp', '-T', 'fields', '-E', 'separator=,', '-e', 'arp.opcode', '-e', 'icmp.type', '-e', 'icmp.checksum.status', '-e', 'ip.checksum.status', '-e', 'icmp.seq'], { encoding: 'utf8' });
    expect(status).toBe(0);
    const lines = stdout.trim().split('\n').map((line) => line.split(','));
    expect(lines.filter(([opcode]) => opcode !== '').map(([opcode]) => opcode)).toEqual(expect.arrayContaining(['1', '2']));
    const echo = lines.filter(([, type]) => type !== '');
    expect(echo.map(([, type]) => type)).toEqual(['8', '0', '8', '0', '8', '0']);
    expect(echo.every(([, , icmp, ip]) => icmp === '1' && ip === '1')).toBe(true);
  });

  it('does the same from its bzImage with 8139too, by DHCP, without anything of Xen, timers calibrated against the PIT, the HPET and the PM timer', async () => {
    const { end, console } = await boot(`${guestCommandLine({ driver: '8139too', address: 'dhcp' })} nopv lapic=notscdeadline clocksource=acpi_pm tsc=unstable`, { revision: 0x10, kernel: images!.vmlinuz });
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
