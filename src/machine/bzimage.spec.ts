import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { extractVmlinux, isBzImage, isDecoded, readBzImage, SetupHeader } from './bzimage.ts';
import { loadKernelImage } from './kernel.ts';

/** A bzImage around a payload: one setup sector beside the boot sector, then the protected-mode part. */
function bzImage(payload: Uint8Array, protocol = 0x020f): Uint8Array {
  const file = new Uint8Array(1024 + 0x100 + payload.length);
  const v = new DataView(file.buffer);
  file[SetupHeader.setupSects] = 1;
  v.setUint16(0x200, 0x6aeb, true);
  v.setUint32(SetupHeader.magic, 0x53726448, true);
  v.setUint16(SetupHeader.version, protocol, true);
  v.setUint16(SetupHeader.kernelVersion, 0x100, true);
  file.set(new TextEncoder().encode('6.1.0-test\0'), 0x300);
  file[SetupHeader.loadflags] = 1;
  v.setUint32(SetupHeader.code32Start, 0x100000, true);
  v.setUint16(SetupHeader.xloadflags, 1, true);
  v.setUint32(SetupHeader.payloadOffset, 0x100, true);
  v.setUint32(SetupHeader.payloadLength, payload.length, true);
  v.setBigUint64(SetupHeader.prefAddress, 0x1000000n, true);
  file.set(payload, 1024 + 0x100);
  return file;
}

const elf = new Uint8Array(5000).map((_, i) => [0x7f, 0x45, 0x4c, 0x46][i] ?? i % 251);

/** ELF32 of one segment at 1 MiB. */
function smallElf(): Uint8Array {
  const file = new Uint8Array(0x100);
  const v = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  v.setUint16(18, 3, true);
  v.setUint32(24, 0x100000, true);
  v.setUint32(28, 0x34, true);
  v.setUint16(42, 32, true);
  v.setUint16(44, 1, true);
  [1, 0x80, 0, 0x100000, 0x80, 0x80].forEach((word, i) => v.setUint32(0x34 + 4 * i, word, true));
  return file;
}

describe('bzImage', () => {
  it('gives the setup header', () => {
    const image = readBzImage(bzImage(new Uint8Array(64)));
    expect(image).toMatchObject({ protocol: 0x20f, version: '6.1.0-test', has64bitEntry: true, loadAddress: 0x1000000 });
    expect(image.setupHeader.length).toBe(0x202 + 0x6a - 0x1f1);
  });

  it('takes the kernel out of a gzip payload, whose trailer is the size', async () => {
    expect(await extractVmlinux(bzImage(gzipSync(elf)))).toEqual(elf);
  });

  it('takes an image without a compressed kernel: it is entered as it is', async () => {
    const file = bzImage(new Uint8Array(0));
    expect(isDecoded(readBzImage(file))).toBe(false);
    expect(await loadKernelImage(file, 'memtest')).toMatchObject({
      kind: 'bzimage',
      has64bitEntry: true,
      loadAddress: 0x1000000,
    });
  });

  it('takes an image without a 64-bit entry by its 32-bit one, and one of an old protocol too', async () => {
    const lz4 = bzImage(Uint8Array.of(0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0));
    lz4[SetupHeader.xloadflags] = 0;
    expect(await loadKernelImage(lz4, 'k')).toMatchObject({ kind: 'bzimage', has64bitEntry: false, loadAddress: 0x100000 });
    lz4[SetupHeader.relocatable] = 1;
    expect(readBzImage(lz4)).toMatchObject({ loadAddress: 0x1000000 });
    const old = readBzImage(bzImage(gzipSync(elf), 0x0204));
    expect(old).toMatchObject({ protocol: 0x204, has64bitEntry: false, loadAddress: 0x100000 });
    expect(isDecoded(old)).toBe(false);
  });

  it('gives the setup header to the kernel it took out', async () => {
    const image = await loadKernelImage(bzImage(gzipSync(smallElf())), 'k');
    expect(image).toMatchObject({ kind: 'elf', elf: { bits: 32 } });
    expect(image.kind === 'elf' && image.setupHeader?.length).toBe(0x202 + 0x6a - 0x1f1);
  });

  it.each([
    ['gzip', gzipSync],
    ['no', (file: Uint8Array) => file],
  ])('takes an ELF image in %s file', async (_, pack) => {
    expect(await loadKernelImage(pack(smallElf()), 'vmlinux')).toMatchObject({ kind: 'elf', elf: { entry: 0x100000 } });
  });

  it('names the true reason why an image cannot be booted', async () => {
    const realMode = bzImage(new Uint8Array(0));
    new DataView(realMode.buffer).setUint32(SetupHeader.code32Start, 0, true);
    expect(() => readBzImage(realMode, 'ipxe')).toThrow(/^ipxe: its only entry is in real mode/);
    const low = bzImage(new Uint8Array(0));
    low[SetupHeader.loadflags] = 0;
    expect(() => readBzImage(low, 'zImage')).toThrow(/loaded below 640 KiB and entered in real mode \(a zImage\)/);
    const bootSector = new Uint8Array(1024);
    bootSector.set([0x55, 0xaa], 510);
    const disc = new Uint8Array(0x9000);
    disc.set(new TextEncoder().encode('CD001'), 0x8001);
    for (const [file, message] of [
      [bootSector, /, but a boot sector or a disk image/],
      [disc, /, but a CD image/],
      [new TextEncoder().encode('070701'.padEnd(2000)), /, but a cpio archive, .* --initrd/],
      [gzipSync(new TextEncoder().encode('070701'.padEnd(2000))), /, but a cpio archive/],
      [gzipSync('text'), /, but something else packed by gzip;/],
      [new TextEncoder().encode('MZ'.padEnd(2000)), /, but a program for EFI or Windows/],
    ] as const)
      await expect(loadKernelImage(new Uint8Array(file), 'k')).rejects.toThrow(message);
  });

  it('holds no more in memory than its header promises', async () => {
    const bomb = gzipSync(new Uint8Array(64 << 20));
    const lying = bomb.slice();
    new DataView(lying.buffer).setUint32(lying.length - 4, 4096, true);
    await expect(extractVmlinux(bzImage(lying), 'bomb')).rejects.toThrow(/^bomb: unpacks to more than 4097 bytes/);
    new DataView(lying.buffer).setUint32(lying.length - 4, 0xffffffff, true);
    await expect(extractVmlinux(bzImage(lying), 'bomb')).rejects.toThrow(
      /^bomb: its header promises a kernel of 4096 MiB; expected at most 512 MiB/,
    );
  });

  it('says what is wrong with a file in one line', async () => {
    expect(isBzImage(elf)).toBe(false);
    expect(() => readBzImage(elf, 'vmlinuz')).toThrow(/^vmlinuz: no "HdrS"/);
    expect(() => readBzImage(bzImage(gzipSync(elf)).subarray(0, 1400))).toThrow('cut short');
    await expect(extractVmlinux(bzImage(new Uint8Array(64).fill(2)))).rejects.toThrow('lz4 or lzo');
    const damaged = gzipSync(elf);
    damaged.fill(0xff, 40, 80);
    await expect(extractVmlinux(bzImage(damaged))).rejects.toThrow(/damaged|bytes/);
  });
});
