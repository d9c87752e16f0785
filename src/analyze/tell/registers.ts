import { windowAt, type DeviceWindow } from '../join/devices.ts';
import type { Guest } from '../join/guest.ts';
import type { IoAccess } from '../join/io.ts';
import { explainPlatform, platformDevice } from '../join/platform.ts';
import type { DmRequest } from '../sources/dm-lines.ts';
import { vgaText } from '../join/vga.ts';

/** Names of the registers that an access touches, with what is set in them, for one line of text. */
export function registerText(
  g: Guest,
  access: IoAccess,
  request: DmRequest | undefined,
  window: DeviceWindow | undefined,
  mode: string | undefined,
): string {
  const at = window ?? windowAt(g.windows, access.space, access.addr);
  const value = access.data ?? request?.data;
  if (at === undefined) {
    const text = vgaText(access, request?.request.size);
    if (text !== undefined) return text;
    const platform = platformDevice(access.space, access.addr);
    if (platform !== undefined) {
      const names = explainPlatform(platform, access.addr, request?.request.size, value, access.dir).map((r) => r.name);
      return `${platform.name}${names.length > 0 ? ` ${names.join(', ')}` : ''}`;
    }
    const region = request?.region?.name ?? g.regions.at(access.space, access.addr)?.name;
    return region === undefined ? 'a device that no file names' : `a register of ${region}, a chip that is not known here`;
  }
  const { chip, block, base } = at;
  const offset = access.addr - base;
  const name = chip.registerAt(block, offset, mode);
  if (name === undefined) return `offset ${`0x${offset.toString(16)}`} of the ${chip.title}, not a register`;
  const width =
    request?.request.size ?? chip.registers.find((r) => offset >= r.offset && offset < r.offset + r.width)?.width ?? 1;
  const touched = chip.explain(block, { offset, width, value: Number(BigInt.asUintN(32, value ?? 0n)), mode, dir: access.dir });
  if (touched.length === 0) return name;
  // A register without fields describes itself by its value alone: said already.
  return touched
    .map((r) =>
      value === undefined || r.fields === '' || r.fields === `0x${r.value.toString(16)}` ? r.name : `${r.name} (${r.fields})`,
    )
    .join(', ');
}

/** The register that an access begins in, by name alone; undefined where the chip is not known. */
export function registerName(
  g: Guest,
  access: IoAccess,
  window: DeviceWindow | undefined,
  mode: string | undefined,
): string | undefined {
  const at = window ?? windowAt(g.windows, access.space, access.addr);
  return at?.chip.registerAt(at.block, access.addr - at.base, mode);
}
