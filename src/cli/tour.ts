/** What `xenolith run --story` says before it does anything, and what it leaves its user with. */
import { statSync } from 'node:fs';
import { relative } from 'node:path';
import { describeFrame } from '../analyze/sources/ethernet.ts';
import { oneLine } from './printable.ts';
import type { OutputPaths } from './outputs.ts';

const KINDS = {
  trace: "Xen's actions, as xentrace writes them",
  dmLog: "the device model's actions, as QEMU logs them",
  pcap: 'the frames on the wire, for Wireshark too',
} as const;

const CONSOLE = "the guest's console";

/** The files of a run, each with what it holds. */
function filesOf(paths: OutputPaths): { readonly path: string; readonly holds: string }[] {
  return [
    ...(['trace', 'dmLog', 'pcap'] as const).flatMap((name) => {
      const path = paths[name];
      return path === undefined ? [] : [{ path, holds: KINDS[name] }];
    }),
    ...paths.console.filter((path) => path !== '-').map((path) => ({ path, holds: CONSOLE })),
  ];
}

const columns = (rows: readonly (readonly string[])[]): string[] => {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  return rows.map((r) => `  ${r.map((cell, i) => cell.padEnd(widths[i]!)).join('  ')}`.trimEnd());
};

/** A run that is about to begin. */
interface Tour {
  readonly name: string;
  /** What boots, for a reader. */
  readonly text: string;
  readonly memoryMiB: number;
  /** Models of its network cards. */
  readonly nics: readonly string[];
  readonly clock: 'virtual' | 'host';
}

/** What a run is about to do. */
export function announcement(tour: Tour, paths: OutputPaths): string[] {
  const cards = tour.nics.length === 0 ? 'without a network card' : `with the network card ${tour.nics.join(', ')}`;
  const here = paths.console.length === 0 || paths.console.includes('-');
  const times = 'modelled: each step costs a declared time, and a second run gives the same';
  return [
    `This boots the virtual machine '${oneLine(tour.name)}' and records every step of its I/O:`,
    ...columns([
      ['boots', tour.text],
      ['machine', `${tour.memoryMiB} MiB of memory, ${cards}`],
      ['times', tour.clock === 'virtual' ? times : 'those of this computer'],
      ['console', here ? 'what the guest prints appears below' : 'not shown here'],
      ...filesOf(paths).map(({ path, holds }) => ['writes', `${oneLine(path)} (${holds})`]),
      ['then', "tells one packet's story from these files"],
    ]),
    '',
  ];
}

const KIB = 1024;
const sizeText = (bytes: number): string =>
  bytes < KIB ? `${bytes} bytes` : bytes < KIB * KIB ? `${Math.round(bytes / KIB)} KiB` : `${(bytes / KIB / KIB).toFixed(1)} MiB`;

function sizeOf(path: string): string {
  try {
    const stats = statSync(path);
    return stats.isFile() ? sizeText(stats.size) : 'not a file';
  } catch {
    return 'not there';
  }
}

/** A word of a command line as a shell takes it. */
const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

/**
 * The files that a run left, and three commands that go on from there.
 * @param packet another frame of the capture than the one whose story was told
 * @param register a register that the guest rang
 */
export function farewell(paths: OutputPaths, packet: number | undefined, register: string | undefined): string[] {
  const self = ['node', relative(process.cwd(), process.argv[1] ?? 'xenolith')];
  const command = (...words: string[]): string => `  ${[...self, ...words].map(quoted).map(oneLine).join(' ')}`;
  const log = paths.dmLog === undefined ? [] : ['--dm-log', paths.dmLog];
  const capture = paths.pcap === undefined ? [] : ['--pcap', paths.pcap];
  const trace = paths.trace ?? '';
  return [
    '',
    'Files that this run left:',
    ...columns(filesOf(paths).map(({ path, holds }) => [oneLine(path), sizeOf(path), holds])),
    '',
    'Three commands to try:',
    command(
      'trace',
      'explain',
      trace,
      ...log,
      ...capture,
      ...(packet === undefined ? [] : ['--packet', String(packet)]),
      '--evidence',
      'full',
    ),
    command('trace', 'io', trace, ...log, ...(register === undefined ? [] : ['--register', register])),
    command('explain', 'synchronous ioreq page'),
  ];
}

/** A frame to tell of next: the first that is a reply to what was told, else the one behind it. */
export function nextPacket(
  frames: readonly { readonly number: number; readonly data: Uint8Array }[],
  told: number | undefined,
): number | undefined {
  const rest = frames.filter((f) => told === undefined || f.number > told);
  return (rest.find((f) => describeFrame(f.data).startsWith('ICMP echo reply')) ?? rest[0])?.number;
}
