/** What a Linux kernel module says about itself: the .modinfo section of its ELF64 object (include/linux/module.h, MODULE_INFO). */
import { UserError } from '../base/errors.ts';

export interface ModuleInfo {
  name: string;
  /** Names of the modules it needs loaded first. */
  depends: string[];
  /** "6.1.0-56-amd64 SMP preempt …": must match the kernel's own. */
  vermagic: string;
}

/** Read .modinfo. Throws UserError when the bytes are no ELF64 object with one. */
export function readModuleInfo(file: Uint8Array, what: string): ModuleInfo {
  const section = modinfo(file);
  if (section === undefined) throw new UserError(`${what}: no .modinfo section; expected a kernel module (ELF64 .ko)`);
  const fields = new Map<string, string>();
  for (const line of new TextDecoder().decode(section).split('\0')) {
    const equals = line.indexOf('=');
    if (equals > 0) fields.set(line.slice(0, equals), line.slice(equals + 1));
  }
  return {
    name: fields.get('name') ?? '',
    depends: (fields.get('depends') ?? '').split(',').filter((name) => name !== ''),
    vermagic: fields.get('vermagic') ?? '',
  };
}

function modinfo(file: Uint8Array): Uint8Array | undefined {
  if (file.length < 64) return undefined;
  const v = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (v.getUint32(0, false) !== 0x7f454c46 || file[4] !== 2) return undefined;
  const table = Number(v.getBigUint64(0x28, true));
  const entrySize = v.getUint16(0x3a, true);
  const count = v.getUint16(0x3c, true);
  const nameIndex = v.getUint16(0x3e, true);
  if (entrySize < 64 || table + count * entrySize > file.length || nameIndex >= count) return undefined;
  const range = (index: number): Uint8Array => {
    const at = table + index * entrySize;
    const offset = Number(v.getBigUint64(at + 0x18, true));
    return file.subarray(offset, offset + Number(v.getBigUint64(at + 0x20, true)));
  };
  const names = range(nameIndex);
  for (let i = 0; i < count; i++) {
    const start = v.getUint32(table + i * entrySize, true);
    const end = names.indexOf(0, start);
    if (end > start && new TextDecoder().decode(names.subarray(start, end)) === '.modinfo') return range(i);
  }
  return undefined;
}
