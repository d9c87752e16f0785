/**
 * xl's domain configuration (docs/man/xl.cfg.5, tools/xl/xl_parse.c): what a guest's file says of it. Only what this machine
 * can do is taken; what would make another guest is refused or said, other keys are warned about and left alone.
 */
import { UserError } from '../base/errors.ts';
import { nicModelNames } from '../device-model/nics.ts';
import { GuestLayout } from '../hypervisor/domain-builder/layout.ts';
import { parseXlSettings, wholeNumber, type XlSetting } from './xl-cfg-grammar.ts';

/** Memory a guest may be given: up to the MMIO hole, as RAM above 4 GiB has no place in the p2m. */
export const MEMORY_MIB = { min: 4, max: GuestLayout.mmioHole / 0x100000 } as const;

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
  /** The kernel's command line. */
  readonly extra: string;
  readonly vif: readonly XlVif[];
  readonly hpet: boolean;
  /**
   * Keys of the guest that xl would boot without a kernel, from its disks or its firmware: whoever boots another kernel in its
   * place says so.
   */
  readonly bootsFrom: readonly string[];
  /** One line per key that was not understood. */
  readonly warnings: readonly string[];
}

/** What options of the command line say in place of the file: a value of the file that they overrule is not looked at. */
export interface XlOverrides {
  /** MiB. */
  readonly memory?: number | undefined;
}

/** Keys that mean nothing here but harm nothing either: taken without a word. */
const HARMLESS = new Set([
  'serial',
  'on_poweroff',
  'on_reboot',
  'on_crash',
  'on_watchdog',
  'on_soft_reset',
  'acpi',
  'apic',
  'pae',
  'vnc',
  'vnclisten',
  'vncdisplay',
  'vncunused',
  'vncpasswd',
  'sdl',
  'spice',
  'nographic',
  'stdvga',
  'vga',
  'videoram',
  'keymap',
  'maxvcpus',
  'maxmem',
  'usb',
  'usbdevice',
  'uuid',
  'cpus',
  'cpu_weight',
  'localtime',
  'device_model_version',
  'device_model_override',
  'device_model_args',
  'device_model_args_hvm',
]);

/** What a guest without a kernel of its own boots from. */
const BOOT_SOURCES = ['disk', 'boot', 'bootloader', 'firmware', 'bios', 'firmware_override'] as const;

/** Parse the text of a configuration file. Throws UserError naming file and line. */
export function parseXlConfig(text: string, file: string, overrides: XlOverrides = {}): XlConfig {
  refuseOther(text, file);
  const settings = parseXlSettings(text, file);
  if (settings.size === 0)
    throw new UserError(`${file}: it has no settings; expected a guest configuration with lines like memory = 128`);
  const reader = new Reader(settings, file);
  const { warnings } = reader;
  const type = guestType(reader);
  const cmdline = commandLine(reader);
  let kernel = reader.string('kernel');
  const bootsFrom = BOOT_SOURCES.filter((key) => reader.peek(key) !== undefined);
  if (kernel !== undefined && /(?:^|\/)hvmloader$/.test(kernel)) {
    warnings.push(
      `${reader.at('kernel')}kernel = '${kernel}' is the firmware of a guest, not its kernel; it is ignored, as xl ignores it`,
    );
    kernel = undefined;
    bootsFrom.unshift('disk');
  }
  const ramdisk = reader.string('ramdisk');
  const memory = overrides.memory ?? reader.number('memory', 128);
  const vcpus = reader.number('vcpus', 1);
  const vif = vifs(reader.take('vif'), file, warnings);
  const hpet = reader.number('hpet', 1) !== 0;
  const name = reader.text('name') ?? 'guest';
  reader.used('memory');
  const { min, max } = MEMORY_MIB;
  if (memory < min || memory > max)
    throw new UserError(`${reader.at('memory')}memory = ${memory}: expected a whole number of MiB from ${min} to ${max}`);
  if (vcpus !== 1) throw new UserError(`${reader.at('vcpus')}vcpus = ${vcpus}: only one vCPU is supported; write vcpus = 1`);
  for (const key of kernel === undefined ? BOOT_SOURCES : ['boot']) reader.used(key);
  warnings.push(...reader.leftOver());
  return {
    name,
    type,
    memory,
    vcpus,
    extra: cmdline,
    vif,
    hpet,
    bootsFrom: kernel === undefined ? [...new Set(bootsFrom)] : [],
    warnings,
    ...(kernel === undefined ? {} : { kernel }),
    ...(ramdisk === undefined ? {} : { ramdisk }),
  };
}

/** Other forms of a guest's description, which look like nothing of xl's. */
function refuseOther(text: string, file: string): void {
  const expected = 'expected a guest configuration of xl, with lines like memory = 128';
  const start = text.slice(0, 400).trimStart();
  if (/^<(?:\?xml|domain)\b/.test(start))
    throw new UserError(`${file}: XML, as libvirt has it (virsh domxml-to-native xen-xl turns it into one for xl); ${expected}`);
  if (/^[[{]\s*["{[]/.test(start)) throw new UserError(`${file}: JSON (xl list -l prints it); ${expected}`);
}

/** `type` counts, else `builder`; without both xl takes a paravirtual guest, which there is none of here. */
function guestType(reader: Reader): 'hvm' | 'pvh' {
  const type = reader.string('type');
  const builder = reader.string('builder');
  const pvh = reader.number('pvh', 0);
  if (type === 'pv' || (type === undefined && (builder === 'generic' || builder === 'linux')))
    throw new UserError(
      `${reader.at(type === undefined ? 'builder' : 'type')}${type === undefined ? `builder = '${builder}'` : "type = 'pv'"}: a paravirtual guest, which this machine does not run; expected type = 'hvm' or 'pvh'`,
    );
  if (type !== undefined && type !== 'hvm' && type !== 'pvh')
    throw new UserError(`${reader.at('type')}type = '${type}': expected 'hvm' or 'pvh'`);
  if (builder !== undefined && builder !== 'hvm' && type === undefined)
    throw new UserError(`${reader.at('builder')}builder = '${builder}': expected 'hvm'`);
  if (type === undefined && builder === undefined && pvh === 0)
    reader.warnings.push(
      `${reader.at('type')}no type is given, which xl takes for a paravirtual guest; it is run as type = 'hvm', so write that`,
    );
  return type ?? (pvh !== 0 ? 'pvh' : 'hvm');
}

/** `cmdline` is the whole line; without it, `root` and `extra` make one. */
function commandLine(reader: Reader): string {
  const cmdline = reader.text('cmdline');
  const root = reader.text('root');
  const extra = reader.text('extra');
  if (cmdline !== undefined) {
    const ignored = ['root', 'extra'].filter((key) => reader.peek(key) !== undefined);
    if (ignored.length > 0)
      reader.warnings.push(
        `${reader.at('cmdline')}cmdline is the whole command line: ${ignored.join(' and ')} ${ignored.length > 1 ? 'are' : 'is'} left out, as xl leaves ${ignored.length > 1 ? 'them' : 'it'} out`,
      );
    return cmdline;
  }
  return [root === undefined ? '' : `root=${root}`, extra ?? ''].filter(Boolean).join(' ');
}

/** Settings by key, each as the kind that is asked for, and which of them were asked for. */
class Reader {
  readonly warnings: string[] = [];
  private readonly settings: ReadonlyMap<string, XlSetting>;
  private readonly file: string;
  private readonly taken = new Set<string>();

  constructor(settings: ReadonlyMap<string, XlSetting>, file: string) {
    this.settings = settings;
    this.file = file;
    for (const { key, line, replaces } of settings.values())
      if (replaces !== undefined)
        this.warnings.push(`${file}:${line}: '${key}' was given in line ${replaces} already; this one counts`);
  }

  peek(key: string): XlSetting | undefined {
    return this.settings.get(key);
  }

  /** `file:line: ` of a key, `file: ` of one that is not there. */
  at(key: string): string {
    const line = this.settings.get(key)?.line;
    return line === undefined ? `${this.file}: ` : `${this.file}:${line}: `;
  }

  used(key: string): void {
    this.taken.add(key);
  }

  take(key: string): XlSetting | undefined {
    this.used(key);
    return this.settings.get(key);
  }

  /** A text, which may look like a number. */
  text(key: string): string | undefined {
    const setting = this.take(key);
    if (setting === undefined) return undefined;
    if (setting.value.kind !== 'atom') throw new UserError(`${this.at(key)}${key}: a list; expected a string in quotes`);
    return setting.value.text;
  }

  /** A name of a file or of a kind, which does not. */
  string(key: string): string | undefined {
    const text = this.text(key);
    const { value } = this.settings.get(key) ?? {};
    if (value?.kind === 'atom' && !value.quoted) throw new UserError(`${this.at(key)}${key}: expected a string in quotes`);
    return text;
  }

  number(key: string, fallback: number): number {
    const setting = this.take(key);
    if (setting === undefined) return fallback;
    const value = setting.value.kind === 'atom' ? wholeNumber(setting.value.text) : undefined;
    if (value === undefined)
      throw new UserError(`${this.at(key)}${key}: expected a whole number (octal after 0, hexadecimal after 0x)`);
    return value;
  }

  /** A line for every key that nobody asked for. */
  leftOver(): string[] {
    return [...this.settings.values()]
      .filter(({ key }) => !this.taken.has(key) && !HARMLESS.has(key))
      .map(({ key, line }) => `${this.file}:${line}: '${key}' is not understood here and has no effect`);
  }
}

/** As many as QEMU makes for a machine (MAX_NICS, include/net/net.h). */
const MAX_VIFS = 8;
/** Keys of a vif that say something of a bridge or a toolstack which is not there. */
const HARMLESS_VIF = new Set([
  'type',
  'model',
  'mac',
  'bridge',
  'script',
  'vifname',
  'ip',
  'backend',
  'gatewaydev',
  'devid',
  'netdev',
  'trusted',
  '',
]);

function vifs(setting: XlSetting | undefined, file: string, warnings: string[]): XlVif[] {
  if (setting === undefined) return [];
  const { value, line } = setting;
  const at = `${file}:${line}: vif: `;
  if (value.kind !== 'list') throw new UserError(`${at}expected a list of strings, like ['type=ioemu,model=rtl8139']`);
  const specs = value.items.map((item) => {
    if (item.kind !== 'atom' || !item.quoted)
      throw new UserError(`${at}expected a list of strings, like ['type=ioemu,model=rtl8139']`);
    return item.text;
  });
  if (specs.length > MAX_VIFS) throw new UserError(`${at}${specs.length} interfaces; expected at most ${MAX_VIFS}`);
  return specs.map((spec) => {
    const parts = new Map(
      spec.split(',').map((part) => {
        const [key, ...rest] = part.split('=');
        return [key!.trim(), rest.join('=').trim()] as const;
      }),
    );
    for (const key of parts.keys())
      if (!HARMLESS_VIF.has(key)) warnings.push(`${at}'${key}' is not understood here and has no effect`);
    const type = parts.get('type') ?? 'ioemu';
    if (type !== 'ioemu') throw new UserError(`${at}type=${type}: expected ioemu; only emulated NICs are supported`);
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
