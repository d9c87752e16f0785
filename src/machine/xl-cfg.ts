/**
 * xl's domain configuration (docs/man/xl.cfg.5): `key = value` lines with strings, numbers and lists in the syntax that
 * xl and Python share. Only what this machine can do is taken; other keys are warned about and left alone.
 */
import { UserError } from '../base/errors.ts';
import { nicModelNames } from '../device-model/nics.ts';
import { GuestLayout } from '../hypervisor/domain-builder/layout.ts';

/** Memory a guest may be given: up to the MMIO hole, as RAM above 4 GiB has no place in the p2m. */
export const MEMORY_MIB = { min: 4, max: GuestLayout.mmioHole / 0x100000 } as const;

type XlValue = string | number | readonly XlValue[];

export interface XlVif {
  readonly model: string;
  /** "00:16:3e:xx:xx:xx", undefined when left out. */
  readonly mac?: string;
}

export interface XlConfig {
  readonly name: string;
  readonly type: 'hvm' | 'pvh';
  /** MiB. */
  readonly memory: number;
  readonly vcpus: number;
  readonly kernel?: string;
  readonly ramdisk?: string;
  readonly extra: string;
  readonly vif: readonly XlVif[];
  readonly hpet: boolean;
  /** One line per key that was not understood. */
  readonly warnings: readonly string[];
}

/** Keys that mean nothing here but harm nothing either: taken without a word. */
const HARMLESS = new Set([
  'serial',
  'builder',
  'on_poweroff',
  'on_reboot',
  'on_crash',
  'acpi',
  'apic',
  'pae',
  'vnc',
  'sdl',
  'nographic',
  'maxvcpus',
  'maxmem',
  'boot',
  'usb',
  'device_model_version',
]);

/** Parse the text of a configuration file. Throws UserError naming file and line. */
export function parseXlConfig(text: string, file: string): XlConfig {
  const entries = new Map<string, { value: XlValue; line: number }>();
  const warnings: string[] = [];
  for (const { key, value, line } of assignments(text, file)) {
    if (entries.has(key))
      warnings.push(`${file}:${line}: '${key}' was given in line ${entries.get(key)!.line} already; this one counts`);
    entries.set(key, { value, line });
  }
  if (entries.size === 0)
    throw new UserError(`${file}: it has no settings; expected a guest configuration with lines like memory = 128`);
  const used = new Set<string>();
  const take = (key: string): { value: XlValue; line: number } | undefined => {
    used.add(key);
    return entries.get(key);
  };
  const text1 = (key: string): string | undefined => {
    const entry = take(key);
    if (entry === undefined) return undefined;
    if (typeof entry.value !== 'string') throw new UserError(`${file}:${entry.line}: ${key}: expected a string in quotes`);
    return entry.value;
  };
  const number1 = (key: string, fallback: number): number => {
    const entry = take(key);
    if (entry === undefined) return fallback;
    const value = typeof entry.value === 'string' && /^\d+$/.test(entry.value) ? Number(entry.value) : entry.value;
    if (typeof value !== 'number' || !Number.isInteger(value))
      throw new UserError(`${file}:${entry.line}: ${key}: expected a whole number`);
    return value;
  };
  const type = text1('type') ?? 'hvm';
  if (type !== 'hvm' && type !== 'pvh')
    throw new UserError(`${file}:${entries.get('type')!.line}: type = '${type}': expected 'hvm' or 'pvh'`);
  const kernel = text1('kernel') ?? text1('firmware_override');
  const ramdisk = text1('ramdisk');
  const root = text1('root');
  const extra = [root === undefined ? '' : `root=${root}`, text1('extra') ?? text1('cmdline') ?? ''].filter(Boolean).join(' ');
  const config: Omit<XlConfig, 'warnings'> = {
    name: text1('name') ?? 'guest',
    type,
    memory: number1('memory', 128),
    vcpus: number1('vcpus', 1),
    extra,
    vif: vifs(take('vif'), file, warnings),
    hpet: number1('hpet', 1) !== 0,
    ...(kernel === undefined ? {} : { kernel }),
    ...(ramdisk === undefined ? {} : { ramdisk }),
  };
  const { min, max } = MEMORY_MIB;
  if (config.memory < min || config.memory > max)
    throw new UserError(
      `${file}:${entries.get('memory')!.line}: memory = ${config.memory}: expected a whole number of MiB from ${min} to ${max}`,
    );
  if (config.vcpus !== 1)
    throw new UserError(
      `${file}:${entries.get('vcpus')!.line}: vcpus = ${config.vcpus}: only one vCPU is supported; write vcpus = 1`,
    );
  for (const [key, { line }] of entries) {
    if (!used.has(key) && !HARMLESS.has(key)) warnings.push(`${file}:${line}: '${key}' is not understood here and has no effect`);
  }
  return { ...config, warnings };
}

/** As many as QEMU makes for a machine (MAX_NICS, include/net/net.h). */
const MAX_VIFS = 8;
/** Keys of a vif that say something of a bridge or a toolstack which is not there. */
const HARMLESS_VIF = new Set(['type', 'model', 'mac', 'bridge', 'script', 'vifname', 'ip', 'backend', 'gatewaydev', 'devid', '']);

function vifs(entry: { value: XlValue; line: number } | undefined, file: string, warnings: string[]): XlVif[] {
  if (entry === undefined) return [];
  const { value, line } = entry;
  const at = `${file}:${line}: vif: `;
  if (!Array.isArray(value) || value.some((v) => typeof v !== 'string'))
    throw new UserError(`${at}expected a list of strings, like ['type=ioemu,model=rtl8139']`);
  if (value.length > MAX_VIFS) throw new UserError(`${at}${value.length} interfaces; expected at most ${MAX_VIFS}`);
  return (value as string[]).map((spec) => {
    const parts = new Map(
      spec.split(',').map((part) => {
        const [key, ...rest] = part.split('=');
        return [key!.trim(), rest.join('=').trim()] as const;
      }),
    );
    for (const key of parts.keys())
      if (!HARMLESS_VIF.has(key)) warnings.push(`${at}'${key}' is not understood here and has no effect`);
    const type = parts.get('type') ?? 'ioemu';
    if (type !== 'ioemu') throw new UserError(`${at}type=${type}: expected ioemu, the emulated NIC; there is no other`);
    const model = parts.get('model') ?? 'rtl8139';
    if (!nicModelNames.includes(model)) throw new UserError(`${at}model=${model}: expected ${nicModelNames.join(' or ')}`);
    const mac = parts.get('mac');
    if (mac !== undefined && !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac))
      throw new UserError(`${at}mac=${mac}: expected six hexadecimal bytes, like 00:16:3e:12:34:56`);
    // Bit 0 of the first byte (IEEE 802.3, 3.2.3): no station's own address; drivers refuse it.
    if (mac !== undefined && (Number.parseInt(mac, 16) & 1) !== 0)
      throw new UserError(`${at}mac=${mac}: the address of a group; expected one station's, like 00:16:3e:12:34:56`);
    return { model, ...(mac === undefined ? {} : { mac }) };
  });
}

interface Assignment {
  key: string;
  value: XlValue;
  line: number;
}

function* assignments(text: string, file: string): Generator<Assignment> {
  const scanner = new Scanner(text, file);
  for (;;) {
    scanner.skipBlank(true);
    if (scanner.atEnd) return;
    const { line } = scanner;
    const key = scanner.word();
    scanner.skipBlank(false);
    if (!scanner.take('=')) throw new UserError(`${file}:${line}: expected '=' after '${key}'`);
    const value = scanner.value();
    scanner.skipBlank(false);
    if (!scanner.atEnd && !scanner.take('\n') && !scanner.take(';'))
      throw new UserError(`${file}:${scanner.line}: expected the end of the line after the value of '${key}'`);
    yield { key, value, line };
  }
}

/** xl's own keys nest lists two deep. */
const MAX_DEPTH = 8;

class Scanner {
  line = 1;
  private at = 0;
  private readonly text: string;
  private readonly file: string;

  constructor(text: string, file: string) {
    this.text = text.replace(/\r\n?/g, '\n');
    this.file = file;
  }

  get atEnd(): boolean {
    return this.at >= this.text.length;
  }

  private fail(what: string): never {
    throw new UserError(`${this.file}:${this.line}: ${what}`);
  }

  take(char: string): boolean {
    if (this.text[this.at] !== char) return false;
    this.at++;
    if (char === '\n') this.line++;
    return true;
  }

  /** Blanks and comments; line ends too when `lines`. */
  skipBlank(lines: boolean): void {
    for (;;) {
      const c = this.text[this.at];
      if (c === ' ' || c === '\t' || (lines && c === ';')) this.at++;
      else if (c === '#') while (!this.atEnd && this.text[this.at] !== '\n') this.at++;
      else if (!(lines && this.take('\n'))) return;
    }
  }

  word(): string {
    const match = /^[A-Za-z_][A-Za-z0-9_]*/.exec(this.text.slice(this.at, this.at + 200));
    if (match === null) this.fail('expected a key, like memory = 128');
    this.at += match[0].length;
    return match[0];
  }

  value(depth = 0): XlValue {
    this.skipBlank(false);
    const c = this.text[this.at];
    if (c === "'" || c === '"') return this.string(c);
    if (c === '[')
      return depth < MAX_DEPTH
        ? this.list(depth)
        : this.fail(`lists are nested more than ${MAX_DEPTH} deep; expected a string or a number`);
    const match = /^-?(0x[0-9a-fA-F]+|\d+)/.exec(this.text.slice(this.at, this.at + 40));
    if (match === null) this.fail('expected a value: a number, a string in quotes, or a list in [ ]');
    this.at += match[0].length;
    return Number(match[0]);
  }

  private string(quote: string): string {
    const start = ++this.at;
    while (!this.atEnd && this.text[this.at] !== quote && this.text[this.at] !== '\n') this.at++;
    if (this.text[this.at] !== quote) this.fail(`the string is not closed; expected ${quote} before the end of the line`);
    return this.text.slice(start, this.at++);
  }

  private list(depth: number): XlValue[] {
    this.at++;
    const items: XlValue[] = [];
    for (;;) {
      this.skipBlank(true);
      if (this.take(']')) return items;
      if (this.atEnd) this.fail("the list is not closed; expected ']'");
      items.push(this.value(depth + 1));
      this.skipBlank(true);
      if (!this.take(',') && this.text[this.at] !== ']') this.fail("expected ',' or ']' in the list");
    }
  }
}
