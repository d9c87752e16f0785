/** What programs that test a virtual machine come with and expect: Multiboot images, QEMU's test devices, the forced-emulation prefix. */
import { describe, expect, it } from 'vitest';
import type { KernelImage } from '../src/hypervisor/domain-builder/domain-builder.ts';
import { readElf } from '../src/hypervisor/domain-builder/elf.ts';
import { engineFactory } from '../src/machine/engine-factory.ts';
import { loadKernelImage } from '../src/machine/kernel.ts';
import { InlineMachine } from '../src/machine/machine.ts';
import { deviceModelReport } from '../src/machine/report.ts';
import { assemble } from '../src/machine/tiny-guest/assembler.ts';
import { LongGuest, longGuest, plainGuest, powerOff } from './plain-guest.ts';

const MEMORY_MIB = 8;

interface Options {
  fep?: boolean;
  testDevices?: boolean;
  commandLine?: string;
  ramdisk?: Uint8Array;
}

function run(kernel: KernelImage, options: Options = {}) {
  const { fep = false, testDevices = true, commandLine = '', ramdisk } = options;
  const machine = new InlineMachine({
    name: 'test program',
    clock: 'virtual',
    nics: [],
    engine: engineFactory(),
    fep,
    ...(testDevices ? { testDevices: { vcpus: 1, memoryBytes: MEMORY_MIB * 0x100000 } } : {}),
    domain: { memoryMiB: MEMORY_MIB, vcpus: 1, type: 'hvm', kernel, commandLine, hpet: true, ...(ramdisk ? { ramdisk } : {}) },
  });
  expect(machine.run(5e9)).toBe('shutdown');
  const address = (gpa: number): number => machine.p2m.ramAddress(gpa as never);
  const word = (gpa: number): number => machine.memory.u32[address(gpa) >>> 2]!;
  const text = (gpa: number): string => {
    let out = '';
    for (let at = gpa; machine.memory.u8[address(at)]! !== 0; at++) out += String.fromCharCode(machine.memory.u8[address(at)]!);
    return out;
  };
  return { machine, word, text, exitStatus: deviceModelReport(machine.deviceModel).exitStatus };
}

const HEADER = 32;

/** A flat image: a Multiboot header with addresses, then code; `bss` bytes behind it. */
function flat(load: number, source: string, bss = 0): Uint8Array {
  const code = assemble(32, load + HEADER, source);
  const image = new Uint8Array(HEADER + code.length);
  const v = new DataView(image.buffer);
  const flags = 1 << 16;
  const end = load + image.length;
  [0x1badb002, flags, -(0x1badb002 + flags), load, load, end, bss ? end + bss : 0, load + HEADER].forEach((word, i) =>
    v.setUint32(i * 4, word, true),
  );
  image.set(code, HEADER);
  return image;
}

/** Ends the run by isa-debug-exit. */
const exitWith = (value: number): string => `mov eax, ${value}\nmov edx, 0xf4\nout dx, eax\nhlt\n`;
const keep = 'mov [0x80000], eax\nmov [0x80004], ebx\n';

describe('Multiboot images', () => {
  it.each(['0x8000', '0x100000'])('a flat image at %s is entered with the magic number and its information', async (load) => {
    const kernel = await loadKernelImage(flat(Number(load), `${keep}${exitWith(5)}`), 'dir/probe.flat');
    expect(kernel.kind).toBe('multiboot');
    const { word, text, exitStatus } = run(kernel, { commandLine: 'one two' });
    expect(word(0x80000)).toBe(0x2badb002);
    const info = word(0x80004);
    expect(word(info) & 0x45).toBe(0x45); // memory, command line, memory map
    expect(word(info + 4)).toBe(639);
    expect(word(info + 8)).toBe((MEMORY_MIB - 1) * 1024);
    expect(text(word(info + 16))).toBe('probe.flat one two');
    expect(exitStatus).toBe(11);
  });

  it('the memory map says where RAM is, in entries that tell their size', async () => {
    const { word } = run(await loadKernelImage(flat(0x100000, `${keep}${exitWith(0)}`), 'probe'));
    const info = word(0x80004);
    const ram: [number, number][] = [];
    for (let at = word(info + 48); at < word(info + 48) + word(info + 44); at += word(at) + 4)
      if (word(at + 20) === 1) ram.push([word(at + 4), word(at + 12)]);
    expect(ram).toEqual([
      [0, 0x9fc00],
      [0x100000, (MEMORY_MIB - 1) * 0x100000],
    ]);
  });

  it('the ramdisk is a module at a page of its own', async () => {
    const ramdisk = Uint8Array.from([0x44, 0x33, 0x22, 0x11, 0x55]);
    const { word } = run(await loadKernelImage(flat(0x100000, `${keep}${exitWith(0)}`), 'probe'), { ramdisk });
    const info = word(0x80004);
    expect(word(info) & 8).toBe(8);
    expect(word(info + 20)).toBe(1);
    const [start, end] = [word(word(info + 24)), word(word(info + 24) + 4)];
    expect(start & 0xfff).toBe(0);
    expect(end - start).toBe(5);
    expect(word(start)).toBe(0x11223344);
  });

  it('its bss is zero, and the information lies behind it', async () => {
    // eax: the highest word of the bss that is not zero
    const load = 0x90000;
    const bss = 0x4000;
    const scan = `mov [0x80004], ebx\nmov ecx, ${load + 0x100}\nmov eax, 0\nagain:\nor eax, [ecx]\nadd ecx, 4\ncmp ecx, ${load + bss}\njb again\nmov [0x80000], eax\n`;
    const { word } = run(await loadKernelImage(flat(load, `${scan}${exitWith(0)}`, bss), 'probe'));
    expect(word(0x80000)).toBe(0);
    expect(word(0x80004)).toBeGreaterThanOrEqual(0x100000);
  });

  it('a 32-bit ELF with a header goes where its program headers say', async () => {
    const header = [0x1badb002, 0, -0x1badb002].map((word) => `db ${[0, 8, 16, 24].map((s) => (word >>> s) & 255).join(', ')}\n`);
    const file = plainGuest(`jmp start\ndb 0x90, 0x90\n${header.join('')}start:\n${keep}${exitWith(1)}`);
    const { word, exitStatus } = run(await loadKernelImage(file, 'probe.elf'));
    expect(word(0x80000)).toBe(0x2badb002);
    expect(exitStatus).toBe(3);
  });

  it.each([
    ['asks for a feature that is not known', (v: DataView) => v.setUint32(4, 0x10008, true), /requires features 0x8/],
    ['wants more than the file has', (v: DataView) => v.setUint32(20, 0x200000, true), /all of it in the file/],
    ['ends before it begins', (v: DataView) => v.setUint32(24, 0x100000, true), /rising addresses/],
    ['has no addresses and is not an ELF image', (v: DataView) => v.setUint32(4, 0, true), /set bit 16/],
  ])('refuses an image that %s', async (_what, spoil, message) => {
    const image = flat(0x100000, exitWith(0));
    const view = new DataView(image.buffer);
    spoil(view);
    view.setUint32(8, -(0x1badb002 + view.getUint32(4, true)), true);
    await expect(loadKernelImage(image, 'spoilt')).rejects.toThrow(message);
  });

  it('refuses an image that memory does not hold, and an entry outside it', async () => {
    const high = await loadKernelImage(flat(0x900000, exitWith(0)), 'probe');
    expect(() => run(high)).toThrow('kernel: wants guest-physical 0x900000');
    const image = flat(0x100000, exitWith(0));
    new DataView(image.buffer).setUint32(28, 0x5000, true);
    const outside = await loadKernelImage(image, 'probe');
    expect(() => run(outside)).toThrow('its entry, 0x5000, is outside everything that its Multiboot header loads');
  });
});

describe('test devices', () => {
  const fwCfg = (key: number): string =>
    `mov eax, ${key}\nmov edx, 0x510\nout dx, ax\nmov edx, 0x511\nin al, dx\nmov ecx, eax\nin al, dx\n`;

  it('a guest reads the number of processors, and an interrupt line moves by a port', async () => {
    // The 8259's request register shows line 14 of the second one.
    const source = `${fwCfg(5)}mov [0x80000], cl\nmov [0x80001], al\nmov eax, 1\nmov edx, 0x200e\nout dx, al\nmov eax, 10\nmov edx, 0xa0\nout dx, al\nin al, dx\nmov [0x80002], al\n${exitWith(7)}`;
    const { word, exitStatus } = run({ kind: 'elf', elf: readElf(plainGuest(source)) });
    expect(word(0x80000) & 0xffff).toBe(1);
    expect((word(0x80000) >> 16) & 0x40).toBe(0x40);
    expect(exitStatus).toBe(15);
  });

  it('are not there unless asked for', () => {
    const source = `mov edx, 0xf4\nout dx, eax\nin eax, dx\nmov [0x80000], eax\n${powerOff}`;
    const { word, exitStatus } = run({ kind: 'elf', elf: readElf(plainGuest(source)) }, { testDevices: false });
    expect(word(0x80000)).toBe(0xffffffff);
    expect(exitStatus).toBeUndefined();
  });
});

describe('the forced-emulation prefix', () => {
  const prefix = 'db 0x0f, 0x0b, 0x78, 0x65, 0x6e\n';
  const guest = (source: string): KernelImage => ({ kind: 'elf', elf: readElf(longGuest(source)) });

  it('with --fep: the instruction behind it runs, device accesses and all', () => {
    const source = `mov eax, 1\n${prefix}mov eax, 5\nmov [0x80000], eax\n${prefix}mov eax, [0xfee00030]\nmov [0x80004], eax\n${powerOff}`;
    const { word } = run(guest(source), { fep: true });
    expect(word(0x80000)).toBe(5);
    expect(word(0x80004)).toBe(0x00050014);
    expect(word(LongGuest.exceptionRecord)).toBe(0);
  });

  it('with --fep: any other UD2 is #UD at its own address', () => {
    const { word } = run(guest('ud2\n'), { fep: true });
    expect(word(LongGuest.exceptionRecord)).toBe(6);
  });

  it('with --fep: an exception of the instruction behind it points at that instruction', () => {
    const { word } = run(guest(`mov ecx, 0\n${prefix}div ecx\n`), { fep: true });
    const plain = run(guest('mov ecx, 0\ndiv ecx\n'));
    expect(word(LongGuest.exceptionRecord)).toBe(0);
    expect(word(LongGuest.exceptionRecord + 16)).toBe(plain.word(LongGuest.exceptionRecord + 16) + 5);
  });

  it('without --fep: #UD', () => {
    const { word } = run(guest(`${prefix}mov eax, 5\n`));
    expect(word(LongGuest.exceptionRecord)).toBe(6);
  });
});
