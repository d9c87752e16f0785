import { UserError } from '../../base/errors.ts';
import type { NicReading, RegisterBlock } from '../../devices/nic/reading.ts';
import { nicReadings } from '../../devices/nic/readings.ts';
import { claim, consoleLine, logLine, optionRef, type Claim, type Ref } from '../sources/evidence.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import type { IoAccess } from './io.ts';

/** One guest's BAR whose chip is known: where a register block lies for that guest. */
export interface DeviceWindow {
  readonly chip: NicReading;
  readonly block: RegisterBlock;
  readonly space: 'mmio' | 'pio';
  readonly base: number;
  /** `00:03.0`, where a file tells the PCI function. */
  readonly bdf: string | undefined;
  /** How the base is known. */
  readonly found: Claim<number>;
}

/** Evidence that agrees is added to a window up to this many references. */
const MAX_REFS = 4;

class Windows {
  readonly list: DeviceWindow[] = [];

  add(
    chip: NicReading,
    block: RegisterBlock,
    base: number,
    strength: 'proven' | 'strong',
    why: string,
    ref: Ref,
    bdf?: string,
  ): void {
    const known = this.list.findIndex((w) => w.chip === chip && w.block === block && w.base === base);
    if (known < 0) {
      this.list.push({ chip, block, space: block.space, base, bdf, found: claim(base, strength, why, [ref]) });
      return;
    }
    const old = this.list[known]!;
    const { found } = old;
    if (found.why.includes(why)) return;
    this.list[known] = {
      ...old,
      bdf: old.bdf ?? bdf,
      found: claim(
        base,
        found.strength === 'proven' ? 'proven' : strength,
        `${found.why}; ${why}`,
        [...found.refs, ref].slice(0, MAX_REFS),
      ),
    };
  }
}

/** What device discovery looks at, all of one guest; each part may be absent. */
interface DiscoverySources {
  readonly log?: DmLog | undefined;
  readonly accesses?: readonly IoAccess[] | undefined;
  /** Lines of the guest's console. */
  readonly console?: readonly string[] | undefined;
  /** `rtl8139@0xf1000000`, as given by the user. */
  readonly options?: readonly string[] | undefined;
}

/**
 * Finds the BARs of known chips in one guest: from configuration writes (in its log, or ports 0xcf8 and 0xcfc in its part of
 * the trace), the device model's mapping, region and chip lines, the guest's console, or the user's word. What the guest
 * printed or the user said gives way where the device model's log says another thing of the same addresses.
 * @throws UserError for an option that names no known chip or no address
 */
export function findDevices(sources: DiscoverySources): DeviceWindow[] {
  const windows = new Windows();
  if (sources.log !== undefined) fromLog(sources.log, windows);
  if (sources.accesses !== undefined) fromConfigPorts(sources.accesses, windows);
  const sure = new Windows();
  for (const option of sources.options ?? []) fromOption(option, sure);
  if (sources.console !== undefined) fromConsole(sources.console, sure);
  for (const w of sure.list) {
    if (contradicted(w, windows.list, sources.log)) continue;
    windows.add(w.chip, w.block, w.base, 'strong', w.found.why, w.found.refs[0]!, w.bdf);
    for (const ref of w.found.refs.slice(1)) addRef(windows, w, ref);
  }
  return windows.list;
}

function addRef(windows: Windows, of: DeviceWindow, ref: Ref): void {
  const at = windows.list.findIndex((w) => w.chip === of.chip && w.block === of.block && w.base === of.base);
  const w = windows.list[at]!;
  if (w.found.refs.length < MAX_REFS) windows.list[at] = { ...w, found: { ...w.found, refs: [...w.found.refs, ref] } };
}

const overlap = (w: DeviceWindow, other: DeviceWindow): boolean =>
  w.space === other.space && w.base < other.base + other.block.size && other.base < w.base + w.block.size;

/** Whether the device model's log says that another device is where a console or an option puts a chip. */
export function contradicted(w: DeviceWindow, known: readonly DeviceWindow[], log: DmLog | undefined): boolean {
  if (known.some((k) => overlap(w, k) && (k.chip !== w.chip || k.base !== w.base))) return true;
  return (log?.requests ?? []).some(
    (r) =>
      r.region !== undefined &&
      spaceOf(r) === w.space &&
      inside(w, r.request.addr) &&
      !w.block.regions.includes(r.region.name.toLowerCase()),
  );
}

const spaceOf = (r: DmRequest): 'mmio' | 'pio' | undefined =>
  r.request.type === 0 ? 'pio' : r.request.type === 1 ? 'mmio' : undefined;

const inside = (w: DeviceWindow, addr: number): boolean => addr >= w.base && addr < w.base + w.block.size;

function fromOption(option: string, windows: Windows): void {
  const m = /^([\w-]+)@(?:0x)?([0-9a-f]{1,13})$/i.exec(option);
  const chip = nicReadings.find((c) => c.name === m?.[1]?.toLowerCase());
  const base = parseInt(m?.[2] ?? '', 16);
  const space = base > 0xffff ? 'mmio' : 'pio';
  const block = chip?.blocks.find((b) => b.space === space);
  if (chip === undefined || block === undefined || base % block.size !== 0) {
    throw new UserError(
      `--device ${option}: expected CHIP@BASE with CHIP one of ${nicReadings.map((c) => c.name).join(', ')} and BASE a multiple of its BAR's size, for example rtl8139@0xf1000000`,
    );
  }
  windows.add(chip, block, base, 'strong', 'given with --device', optionRef);
}

/** What a write of a BAR says. Undefined for another register, for the sizing pattern and for no address. */
function barWindow(chip: NicReading, register: number, value: number): { block: RegisterBlock; base: number } | undefined {
  const block = chip.blocks.find((b) => b.bar === register);
  if (block === undefined) return undefined;
  const base = (value & ~(block.size - 1)) >>> 0;
  if (base === 0 || (value | (block.size - 1)) >>> 0 === 0xffffffff) return undefined;
  return { block, base };
}

const named = (name: string): NicReading | undefined => nicReadings.find((c) => c.name === name.toLowerCase());

/** The chip and block whose handler a region line names. */
function regionBlock(name: string, space: 'mmio' | 'pio'): { chip: NicReading; block: RegisterBlock } | undefined {
  const wanted = name.toLowerCase();
  for (const chip of nicReadings) {
    const block = chip.blocks.find((b) => b.space === space && b.regions.includes(wanted));
    if (block !== undefined) return { chip, block };
  }
  return undefined;
}

function fromLog(log: DmLog, windows: Windows): void {
  for (const config of log.configs) {
    const chip = named(config.name);
    if (chip === undefined || config.dir !== 'write') continue;
    const at = barWindow(chip, config.reg, config.value);
    if (at !== undefined)
      windows.add(
        chip,
        at.block,
        at.base,
        'proven',
        'the guest wrote it into the BAR',
        logLine(config.line, log.source),
        config.bdf,
      );
  }
  for (const mapping of log.mappings) {
    const chip = named(mapping.name);
    const block = chip?.blocks.find((b) => b.bar === 0x10 + 4 * mapping.bar && b.size === mapping.size);
    if (chip === undefined || block === undefined || !mapping.added) continue;
    windows.add(
      chip,
      block,
      mapping.base,
      'proven',
      'the device model mapped the BAR there',
      logLine(mapping.line, log.source),
      mapping.bdf,
    );
  }
  for (const request of log.requests) {
    const { addr } = request.request;
    const space = spaceOf(request);
    if (space === undefined) continue;
    if (request.region !== undefined) {
      const found = regionBlock(request.region.name, space);
      if (found === undefined || addr % found.block.size !== request.region.addr % found.block.size) continue;
      windows.add(
        found.chip,
        found.block,
        addr - (addr % found.block.size),
        'strong',
        `the device model's ${request.region.name} handler served requests there at the same offsets`,
        logLine(request.region.line, log.source),
      );
      continue;
    }
    const line = request.chip[0];
    if (line === undefined) continue;
    const chip = nicReadings.find((c) => c.lines?.prefix === line.chip);
    const block = chip?.blocks.find((b) => b.space === space);
    if (chip === undefined || block === undefined) continue;
    const offset = addr % block.size;
    if (chip.lines!.registers(line.text).includes(offset)) {
      windows.add(
        chip,
        block,
        addr - offset,
        'strong',
        "the chip's own line after the request names the register at this offset",
        logLine(line.line, log.source),
      );
    }
  }
}

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

/** Configuration writes through the ports, straight from the trace: needs the device's ID to have been read too. */
function fromConfigPorts(accesses: readonly IoAccess[], windows: Windows): void {
  const identity = new Map<number, NicReading>();
  let latch = 0;
  for (const access of accesses) {
    if (access.space !== 'pio' || access.data === undefined) continue;
    const data = Number(BigInt.asUintN(32, access.data));
    if (access.addr === CONFIG_ADDRESS && access.dir === 'write') latch = data;
    if (access.addr !== CONFIG_DATA || (latch & 0x80000000) === 0) continue;
    const bdf = (latch >>> 8) & 0xffff;
    const register = latch & 0xfc;
    if (register === 0 && access.dir === 'read') {
      const chip = nicReadings.find((c) => c.vendorId === (data & 0xffff) && c.deviceIds.includes(data >>> 16));
      if (chip === undefined) identity.delete(bdf);
      else identity.set(bdf, chip);
    }
    const chip = identity.get(bdf);
    if (chip === undefined || access.dir !== 'write') continue;
    const at = barWindow(chip, register, data);
    if (at !== undefined)
      windows.add(chip, at.block, at.base, 'proven', 'the guest wrote it into the BAR', access.record.ref, bdfText(bdf));
  }
}

const bdfText = (bdf: number): string => {
  const hex = (n: number): string => n.toString(16).padStart(2, '0');
  return `${hex(bdf >>> 8)}:${hex((bdf >>> 3) & 31)}.${bdf & 7}`;
};

function fromConsole(lines: readonly string[], windows: Windows): void {
  let chip: NicReading | undefined;
  lines.forEach((line, i) => {
    const ref = consoleLine(i + 1);
    // `pci 0000:00:03.0 0x10ec 0x8139`, then sysfs's `resource` lines: start, end, flags.
    const id = /pci [0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]:? \[?(?:0x)?([0-9a-f]{4})[: ](?:0x)?([0-9a-f]{4})\b/i.exec(line);
    if (id !== null) {
      chip = nicReadings.find((c) => c.vendorId === parseInt(id[1]!, 16) && c.deviceIds.includes(parseInt(id[2]!, 16)));
      return;
    }
    const resource = /^\s*0x([0-9a-f]{16}) 0x([0-9a-f]{16}) 0x([0-9a-f]{16})/i.exec(line);
    const reg = /reg 0x[0-9a-f]+: \[(io|mem)\s+0x([0-9a-f]+)-0x([0-9a-f]+)/i.exec(line);
    const claimed = /^\s*([0-9a-f]{4,16})-([0-9a-f]{4,16}) : (\S+)/i.exec(line);
    if (resource !== null && chip !== undefined) {
      const flags = parseInt(resource[3]!, 16);
      span(chip, flags & 0x100 ? 'pio' : 'mmio', resource[1]!, resource[2]!, 'the guest printed the resource', ref);
    } else if (reg !== null && chip !== undefined) {
      span(chip, reg[1] === 'io' ? 'pio' : 'mmio', reg[2]!, reg[3]!, "the guest's kernel printed the BAR", ref);
    } else if (claimed !== null) {
      const owner = nicReadings.find((c) => c.drivers.includes(claimed[3]!));
      if (owner !== undefined)
        span(
          owner,
          parseInt(claimed[2]!, 16) > 0xffff ? 'mmio' : 'pio',
          claimed[1]!,
          claimed[2]!,
          `the guest's driver ${claimed[3]} claimed it`,
          ref,
        );
    }
  });

  function span(of: NicReading, space: 'mmio' | 'pio', start: string, end: string, why: string, ref: Ref): void {
    const base = parseInt(start, 16);
    const block = of.blocks.find((b) => b.space === space && b.size === parseInt(end, 16) - base + 1);
    if (base > 0 && block !== undefined) windows.add(of, block, base, 'strong', why, ref);
  }
}

/** BARs of known chips that a console names, whatever the other files say. */
export function consoleWindows(lines: readonly string[]): readonly DeviceWindow[] {
  const windows = new Windows();
  fromConsole(lines, windows);
  return windows.list;
}

/** The window that holds an address, if any: of several the best founded, then the latest found. */
export function windowAt(windows: readonly DeviceWindow[], space: 'mmio' | 'pio', addr: number): DeviceWindow | undefined {
  let best: DeviceWindow | undefined;
  for (const w of windows) {
    if (w.space !== space || !inside(w, addr)) continue;
    if (best === undefined || w.found.strength === 'proven' || best.found.strength !== 'proven') best = w;
  }
  return best;
}

/** A device of the log whose chip is not known: what its handler is called. */
export interface LoggedRegion {
  readonly name: string;
  /** Where its BAR begins, where the device model says so. */
  readonly base: number | undefined;
  /** The line that names it at this address. */
  readonly line: number;
}

/** Names of the handlers in a log's region lines, by the addresses that they served. */
export class LoggedRegions {
  private readonly byAddress = new Map<string, LoggedRegion>();

  constructor(log: DmLog | undefined) {
    for (const request of log?.requests ?? []) {
      const space = spaceOf(request);
      if (request.region === undefined || space === undefined) continue;
      const key = `${space} ${request.request.addr}`;
      if (this.byAddress.has(key)) continue;
      const { name, line } = request.region;
      const { addr } = request.request;
      const mapping = log!.mappings.findLast((m) => m.added && addr >= m.base && addr < m.base + m.size);
      this.byAddress.set(key, { name, line, base: mapping?.base });
    }
  }

  at(space: 'mmio' | 'pio', addr: number): LoggedRegion | undefined {
    return this.byAddress.get(`${space} ${addr}`);
  }
}
