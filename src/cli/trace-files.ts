/** Which of the files of a `trace` command is what: by option, or by content. */
import { readFileSync } from 'node:fs';
import type { openAnalysis } from '../analyze/files-node.ts';
import type { FileKind } from '../analyze/sources/recognise.ts';
import { UserError } from '../base/errors.ts';
import type { Intake, PlainFile } from './intake.ts';

/** What options name; a file of one guest may begin with `GUEST=`. */
export interface NamedFiles {
  readonly files: readonly string[];
  readonly dmLogs: readonly string[];
  readonly pcap: string | undefined;
  readonly consoles: readonly string[];
}

type AnalysisFiles = Parameters<typeof openAnalysis>[0];

/** The parts of an analysis that files give. */
interface Sorted extends Pick<AnalysisFiles, 'files' | 'dmLogs' | 'pcap' | 'consoles'> {
  /** TSC rate and Xen release of the host, where a file tells them. */
  readonly cpuHz: { readonly hz: number; readonly from: string } | undefined;
  readonly xenVersion: { readonly version: string; readonly from: string } | undefined;
  /** Files of a folder or an archive that are of no use, and why: one line each. */
  readonly leftOut: readonly string[];
}

const EXPECTED =
  'an xentrace file, xenalyze text or a mail that quotes it, a device-model log, a capture, a console, xl info or xl dmesg';

/** `2=qemu-dm.log`: a file of one guest. */
function ofGuest(text: string): { path: string; guest: string | undefined } {
  const m = /^([\w.-]+)=(.+)$/.exec(text);
  return m === null ? { path: text, guest: undefined } : { path: m[2]!, guest: m[1]! };
}

/** What an option may name, and which option a file of another kind goes with. */
const OPTION_OF: Partial<Record<FileKind, string>> = {
  'device-model log': 'give it with --dm-log',
  capture: 'give it with --pcap',
  console: 'give it with --console',
  trace: 'give it without an option',
};

/** Opens all files, and sorts those without an option by their content. Throws UserError for one that is of no use. */
export async function sortFiles(named: NamedFiles, intake: Intake): Promise<Sorted> {
  const sorted = {
    files: [] as PlainFile[],
    dmLogs: [] as (PlainFile & { guest?: string | undefined })[],
    captures: [] as PlainFile[],
    consoles: [] as (PlainFile & { guest?: string | undefined })[],
  };
  const leftOut: string[] = [];
  let cpuHz: Sorted['cpuHz'];
  let xenVersion: Sorted['xenVersion'];
  for (const path of named.files) {
    const found = await intake.all(path, EXPECTED);
    for (const file of found) {
      switch (file.kind) {
        case 'trace':
        case 'text':
          // A note beside the files of a run is not one of them, nor is a trace's text beside the trace.
          if (file.kind === 'text' && found.length > 1 && file.what !== "xenalyze's text")
            leftOut.push(`${file.name} is ${file.what}`);
          else if (file.kind === 'text' && found.some((f) => f.kind === 'trace'))
            leftOut.push(`${file.name} is xenalyze's text, and the trace itself is there`);
          else sorted.files.push(file);
          break;
        case 'device-model log':
          sorted.dmLogs.push(file);
          break;
        case 'capture':
          sorted.captures.push(file);
          break;
        case 'console':
          sorted.consoles.push(file);
          break;
        case 'xl info':
        case 'xl dmesg': {
          const host = readHost(file);
          if (host.hz !== undefined) cpuHz ??= { hz: host.hz, from: file.name };
          if (host.version !== undefined) xenVersion ??= { version: host.version, from: file.name };
          break;
        }
        default:
          if (found.length === 1)
            throw new UserError(
              file.kind === 'empty'
                ? `${file.name} is empty: expected ${EXPECTED}`
                : `${file.name} is ${file.what}: expected ${EXPECTED}`,
            );
          leftOut.push(`${file.name} is ${file.what}`);
      }
    }
  }
  for (const text of named.dmLogs) {
    const { path, guest } = ofGuest(text);
    const file = await intake.one(path, 'a device-model log');
    refuse(file, ['device-model log', 'text', 'console'], '--dm-log', 'a device-model log');
    sorted.dmLogs.push({ ...file, guest });
  }
  for (const text of named.consoles) {
    const { path, guest } = ofGuest(text);
    const file = await intake.one(path, "a guest's console");
    refuse(file, ['console', 'text', 'xl dmesg', 'device-model log'], '--console', "a guest's console");
    sorted.consoles.push({ ...file, guest });
  }
  if (named.pcap !== undefined) {
    const file = await intake.one(named.pcap, 'a capture (pcap or pcapng)');
    refuse(file, ['capture'], '--pcap', 'a capture (pcap or pcapng: tcpdump -w makes one)');
    sorted.captures.unshift(file);
  }
  if (sorted.captures.length > 1)
    throw new UserError(
      `${sorted.captures.length} captures given (${sorted.captures.map((f) => f.name).join(', ')}): one analysis reads one; put them together with mergecap`,
    );
  return {
    files: sorted.files,
    dmLogs: sorted.dmLogs,
    consoles: sorted.consoles,
    pcap: sorted.captures[0],
    cpuHz,
    xenVersion,
    leftOut,
  };
}

function refuse(file: PlainFile, kinds: readonly FileKind[], option: string, expected: string): void {
  if (file.kind === 'empty') throw new UserError(`${option} ${file.name}: empty; expected ${expected}`);
  if (kinds.includes(file.kind)) return;
  const instead = OPTION_OF[file.kind];
  throw new UserError(
    `${option} ${file.name}: ${file.what}; expected ${expected}${instead === undefined ? '' : `, so ${instead}`}`,
  );
}

/** TSC rate and release of a host, as `xl dmesg` and `xl info` print them. */
function readHost({ path }: PlainFile): { hz: number | undefined; version: string | undefined } {
  const text = readFileSync(path, 'utf8');
  const mhz =
    /Detected (\d{2,5}(?:\.\d{1,6})?) MHz processor/i.exec(text)?.[1] ??
    /^cpu_mhz\s*:\s*(\d{2,5}(?:\.\d{1,6})?)/m.exec(text)?.[1];
  const version = /^xen_version\s*:\s*(4\.\d{1,2})/m.exec(text)?.[1] ?? /Xen version (4\.\d{1,2})/.exec(text)?.[1];
  return { hz: mhz === undefined ? undefined : Math.round(Number(mhz) * 1e6), version };
}
