import { describe, expect, it } from 'vitest';
import { buildInitramfs, guestCommandLine, loadOrder } from './guest.ts';
import type { ModuleInfo } from './kernel-module.ts';

const info = (name: string, ...depends: string[]): [string, ModuleInfo] => [name, { name, depends, vermagic: '6.1.0 SMP' }];

/** The smallest ELF64 object with a .modinfo section. */
function moduleFile(modinfo: string): Uint8Array {
  const names = '\0.shstrtab\0.modinfo\0';
  const file = new Uint8Array(64 + 3 * 64 + names.length + modinfo.length);
  const v = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  v.setBigUint64(0x28, 64n, true);
  v.setUint16(0x3a, 64, true);
  v.setUint16(0x3c, 3, true);
  v.setUint16(0x3e, 1, true);
  const section = (index: number, name: number, offset: number, size: number): void => {
    const at = 64 + index * 64;
    v.setUint32(at, name, true);
    v.setBigUint64(at + 0x18, BigInt(offset), true);
    v.setBigUint64(at + 0x20, BigInt(size), true);
  };
  section(1, 1, 256, names.length);
  section(2, 11, 256 + names.length, modinfo.length);
  file.set(new TextEncoder().encode(names + modinfo), 256);
  return file;
}

describe('initramfs', () => {
  it('orders modules after what they need', () => {
    expect(loadOrder('8139cp', new Map([info('8139cp', 'mii'), info('mii')]))).toEqual(['mii', '8139cp']);
    expect(() => loadOrder('8139cp', new Map([info('8139cp', 'mii')]))).toThrow('kernel module mii, needed by 8139cp');
    expect(() => loadOrder('a', new Map([info('a', 'b'), info('b', 'a')]))).toThrow('ring: a → b → a');
  });

  it('holds the modules with their order, and is the same bytes each time', () => {
    const modules = new Map([
      ['8139cp', moduleFile('name=8139cp\0depends=mii\0vermagic=6.1.0-1-amd64 SMP\0')],
      ['mii', moduleFile('name=mii\0depends=\0vermagic=6.1.0-1-amd64 SMP\0')],
    ]);
    const parts = { version: '6.1.0-1-amd64', busybox: new Uint8Array(10), init: new Uint8Array(3), modules };
    const archive = buildInitramfs(parts);
    expect(new TextDecoder('latin1').decode(archive)).toContain('mii\n8139cp\n');
    expect(buildInitramfs({ ...parts, modules: new Map([...modules].reverse()) })).toEqual(archive);
    expect(() => buildInitramfs({ ...parts, version: '6.9' })).toThrow(
      '8139cp.ko is built for kernel 6.1.0-1-amd64, expected 6.9',
    );
  });

  it('tells the init script what to do', () => {
    expect(guestCommandLine({ driver: '8139too', address: 'dhcp' })).toBe(
      'console=ttyS0 xenolith.driver=8139too xenolith.mode=ping xenolith.ip=dhcp xenolith.host=10.0.2.2',
    );
  });
});
