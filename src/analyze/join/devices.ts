import { UserError } from '../../base/errors.ts';
import {
  RTL8139_BLOCK_SIZE,
  RTL8139_DEVICE_ID,
  RTL8139_VENDOR_ID,
  rtl8139Registers,
} from '../../devices/nic/rtl8139/registers.ts';
import { explainAccess, type Explained, type RegisterDef } from '../../base/registers.ts';
import { claim, consoleLine, logLine, optionRef, unknown, type Claim, type Ref } from '../sources/evidence.ts';
import type { DmChipLine, DmRequest } from '../sources/dm-lines.ts';
import type { DmLog } from '../sources/dm-log.ts';
import type { IoAccess } from './io.ts';

/** A chip whose registers are known, and how files name it. */
export interface Chip {
  /** Device model's name of it, in region and configuration lines. */
  readonly name: string;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Bytes of its register block, in every BAR that maps it. */
  readonly blockSize: number;
  readonly registers: readonly RegisterDef[];
  /** BARs that map the block, by configuration register: the written value does not tell I/O from memory. */
  readonly bars: Readonly<Record<number, 'mmio' | 'pio'>>;
  /** Linux drivers that claim its regions in /proc/iomem and /proc/ioports. */
  readonly drivers: readonly string[];
}

const rtl8139: Chip = {
  name: 'rtl8139',
  vendorId: RTL8139_VENDOR_ID,
  deviceId: RTL8139_DEVICE_ID,
  blockSize: RTL8139_BLOCK_SIZE,
  registers: rtl8139Registers,
  bars: { 16: 'pio', 20: 'mmio' },
  drivers: ['8139cp', '8139too'],
};

export const chips: readonly Chip[] = [rtl8139];

/** A BAR: where a chip's register block lies for the guest. */
export interface DeviceWindow {
  readonly chip: Chip;
  readonly space: 'mmio' | 'pio';
  readonly base: number;
  /** How the base is known. */
  readonly found: Claim<number>;
}

/** Evidence that agrees is added to a window up to this many references. */
const MAX_REFS = 4;

class Windows {
  readonly list: DeviceWindow[] = [];

  add(chip: Chip, space: 'mmio' | 'pio', base: number, strength: 'proven' | 'strong', why: string, ref: Ref): void {
    const known = this.list.findIndex((w) => w.chip === chip && w.space === space && w.base === base);
    if (known < 0) {
      this.list.push({ chip, space, base, found: claim(base, strength, why, [ref]) });
      return;
    }
    const { found } = this.list[known]!;
    if (found.why.includes(why)) return;
    this.list[known] = {
      chip,
      space,
      base,
      found: claim(
        base,
        found.strength === 'proven' ? 'proven' : strength,
        `${found.why}; ${why}`,
        [...found.refs, ref].slice(0, MAX_REFS),
      ),
    };
  }
}

/** What device discovery looks at; each part may be absent. */
interface DiscoverySources {
  readonly log?: DmLog | undefined;
  readonly accesses?: readonly IoAccess[] | undefined;
  /** Lines of the guest's console. */
  readonly console?: readonly string[] | undefined;
  /** `rtl8139@0xf1000000`, as given by the user. */
  readonly options?: readonly string[] | undefined;
}

/**
 * Finds the BARs of known chips: from configuration writes (in the log, or ports 0xcf8 and 0xcfc in the trace), the
 * device model's mapping, region and chip lines, the guest's console, or the user's word.
 * @throws UserError for an option that names no known chip or no address
 */
export function findDevices(sources: DiscoverySources): DeviceWindow[] {
  const windows = new Windows();
  for (const option of sources.options ?? []) {
    const m = /^([\w-]+)@(?:0x)?([0-9a-f]+)$/i.exec(option);
    const chip = chips.find((c) => c.name === m?.[1]?.toLowerCase());
    if (m === null || chip === undefined) {
      throw new UserError(
        `--device ${option}: expected CHIP@BASE with CHIP one of ${chips.map((c) => c.name).join(', ')}, for example rtl8139@0xf1000000`,
      );
    }
    const base = parseInt(m[2]!, 16);
    windows.add(chip, base > 0xffff ? 'mmio' : 'pio', base, 'strong', 'given with --device', optionRef);
  }
  if (sources.log !== undefined) fromLog(sources.log, windows);
  if (sources.accesses !== undefined) fromConfigPorts(sources.accesses, windows);
  if (sources.console !== undefined) fromConsole(sources.console, windows);
  return windows.list;
}

/** What a write of a BAR says. Undefined for another register, for the sizing pattern and for no address. */
function barWindow(chip: Chip, register: number, value: number): { space: 'mmio' | 'pio'; base: number } | undefined {
  const space = chip.bars[register];
  const base = (value & ~(chip.blockSize - 1)) >>> 0;
  if (space === undefined || base === 0 || (value | (chip.blockSize - 1)) >>> 0 === 0xffffffff) return undefined;
  return { space, base };
}

function fromLog(log: DmLog, windows: Windows): void {
  for (const config of log.configs) {
    const chip = chips.find((c) => c.name === config.name.toLowerCase());
    if (chip === undefined || config.dir !== 'write') continue;
    const at = barWindow(chip, config.reg, config.value);
    if (at !== undefined)
      windows.add(chip, at.space, at.base, 'proven', 'the guest wrote it into the BAR', logLine(config.line, log.source));
  }
  for (const mapping of log.mappings) {
    const chip = chips.find((c) => c.name === mapping.name.toLowerCase());
    if (chip !== undefined && mapping.added && mapping.size === chip.blockSize) {
      windows.add(
        chip,
        mapping.base > 0xffff ? 'mmio' : 'pio',
        mapping.base,
        'proven',
        'the device model mapped the BAR there',
        logLine(mapping.line, log.source),
      );
    }
  }
  for (const request of log.requests) {
    const { type, addr } = request.request;
    if (type > 1) continue;
    const space = type === 0 ? 'pio' : 'mmio';
    const region = request.region && chips.find((c) => c.name === request.region!.name.toLowerCase());
    if (region !== undefined && addr % region.blockSize === request.region!.addr % region.blockSize) {
      windows.add(
        region,
        space,
        addr - (addr % region.blockSize),
        'strong',
        `the device model's ${region.name} handler served requests there at the same offsets`,
        logLine(request.region!.line, log.source),
      );
      continue;
    }
    const line = request.chip[0];
    const chip = line && request.region === undefined ? chips.find((c) => c.name === line.chip) : undefined;
    if (chip === undefined) continue;
    const offset = addr % chip.blockSize;
    if (registersOfLine(chip, line!).includes(offset)) {
      windows.add(
        chip,
        space,
        addr - offset,
        'strong',
        "the chip's own line behind the request names the register at this offset",
        logLine(line!.line, log.source),
      );
    }
  }
}

/** Offsets that a chip's debug line can mean: `TxAddr write offset=0x0 val=…`, `C+ TxPoll write(b) val=0x40`. */
function registersOfLine(chip: Chip, line: DmChipLine): number[] {
  const m = /^(.+?) (?:write|read)(?:\([bwl]\))?\b(?: offset=(?:0x)?([0-9a-f]+))?/i.exec(line.text);
  if (m === null) return [];
  const label = m[1]!.trim().toLowerCase();
  const within = m[2] === undefined ? undefined : parseInt(m[2], 16);
  return chip.registers
    .filter((r) => {
      const name = (r.log?.label ?? r.name).toLowerCase();
      return within === undefined ? name === label : name === `${label}0` || name === label;
    })
    .map((r) => r.offset + (within ?? 0));
}

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;

/** Configuration writes through the ports, straight from the trace: needs the device's ID to have been read too. */
function fromConfigPorts(accesses: readonly IoAccess[], windows: Windows): void {
  const identity = new Map<number, Chip>();
  let latch = 0;
  for (const access of accesses) {
    if (access.space !== 'pio' || access.data === undefined) continue;
    const data = Number(BigInt.asUintN(32, access.data));
    if (access.addr === CONFIG_ADDRESS && access.dir === 'write') latch = data;
    if (access.addr !== CONFIG_DATA || (latch & 0x80000000) === 0) continue;
    const bdf = (latch >>> 8) & 0xffff;
    const register = latch & 0xfc;
    if (register === 0 && access.dir === 'read') {
      const chip = chips.find((c) => c.vendorId === (data & 0xffff) && c.deviceId === data >>> 16);
      if (chip !== undefined) identity.set(bdf, chip);
    }
    const chip = identity.get(bdf);
    if (chip === undefined || access.dir !== 'write') continue;
    const at = barWindow(chip, register, data);
    if (at !== undefined) windows.add(chip, at.space, at.base, 'proven', 'the guest wrote it into the BAR', access.record.ref);
  }
}

function fromConsole(lines: readonly string[], windows: Windows): void {
  let chip: Chip | undefined;
  lines.forEach((line, i) => {
    const ref = consoleLine(i + 1);
    // `pci 0000:00:03.0 0x10ec 0x8139`, then sysfs's `resource` lines: start, end, flags.
    const id = /pci [0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]:? \[?(?:0x)?([0-9a-f]{4})[: ](?:0x)?([0-9a-f]{4})\b/i.exec(line);
    if (id !== null) {
      chip = chips.find((c) => c.vendorId === parseInt(id[1]!, 16) && c.deviceId === parseInt(id[2]!, 16));
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
      const owner = chips.find((c) => c.drivers.includes(claimed[3]!));
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

  function span(of: Chip, space: 'mmio' | 'pio', start: string, end: string, why: string, ref: Ref): void {
    const base = parseInt(start, 16);
    if (base > 0 && parseInt(end, 16) - base + 1 === of.blockSize) windows.add(of, space, base, 'strong', why, ref);
  }
}

/** The window that holds an address, if any. */
export const windowAt = (windows: readonly DeviceWindow[], space: 'mmio' | 'pio', addr: number): DeviceWindow | undefined =>
  windows.find((w) => w.space === space && addr >= w.base && addr < w.base + w.chip.blockSize);

/**
 * In which mode the driver uses an RTL8139: `C+` (descriptor rings) or `C` (four transmit buffers). Some registers
 * mean another thing in each.
 */
export function driverMode(window: DeviceWindow, accesses: readonly IoAccess[], log: DmLog | undefined): Claim<'C' | 'C+'> {
  for (const a of accesses) {
    if (a.dir !== 'write' || a.data === undefined || a.space !== window.space) continue;
    const mode = modeByWrite(a.addr - window.base, a.data, a.record.ref);
    if (mode !== undefined) return mode;
  }
  for (const request of log?.requests ?? []) {
    const line = request.chip.find((c) => /C\+/.test(c.text));
    if (line !== undefined) return claim('C+', 'proven', 'the chip says so', [logLine(line.line, log!.source)]);
    const { type, addr, line: at } = request.request;
    if (request.dir !== 'write' || request.data === undefined || type !== (window.space === 'pio' ? 0 : 1)) continue;
    const mode = modeByWrite(addr - window.base, request.data, logLine(at, log!.source));
    if (mode !== undefined) return mode;
  }
  return unknown('neither CpCmd, TxPoll nor TxStatus was written, and no chip line names the mode');
}

/** What a write of one register says of the mode. */
function modeByWrite(offset: number, data: bigint, ref: Ref): Claim<'C' | 'C+'> | undefined {
  if (offset === CP_CMD && (data & 3n) !== 0n)
    return claim('C+', 'proven', 'the driver set CPlusTxEnb or CPlusRxEnb in CpCmd', [ref]);
  if (offset === TX_POLL) return claim('C+', 'strong', 'the driver rang TxPoll, which only C+ mode has', [ref]);
  if (offset >= TX_STATUS && offset < TX_STATUS + 16 && (data & 0x1fffn) !== 0n && offset % 4 === 0) {
    return claim('C', 'strong', 'the driver started a transfer through TxStatus, which C+ mode has not', [ref]);
  }
  return undefined;
}

const TX_STATUS = 0x10;
const TX_POLL = 0xd9;
const CP_CMD = 0xe0;

/**
 * Names the registers an access touched.
 * @param width bytes, from the log; without it the access is taken to cover the register it begins at
 */
export function explainRegisters(
  window: DeviceWindow,
  addr: number,
  width: number | undefined,
  data: bigint | undefined,
  mode: string | undefined,
): Explained[] {
  const offset = addr - window.base;
  const bytes = width ?? window.chip.registers.find((r) => offset >= r.offset && offset < r.offset + r.width)?.width ?? 1;
  return explainAccess(window.chip.registers, offset, bytes, Number(BigInt.asUintN(32, data ?? 0n)), mode);
}

/** Requests that a window's device served. */
export const requestsOf = (window: DeviceWindow, requests: readonly DmRequest[]): DmRequest[] =>
  requests.filter(
    (r) =>
      r.request.type === (window.space === 'pio' ? 0 : 1) &&
      r.request.addr >= window.base &&
      r.request.addr < window.base + window.chip.blockSize,
  );
