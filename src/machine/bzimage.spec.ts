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
  v.setUint16(SetupHeader.xloadflags, 1, true);
  v.setUint32(SetupHeader.payloadOffset, 0x100, true);
  v.setUint32(SetupHeader.payloadLength, payload.length, true);
  v.setBigUint64(SetupHeader.prefAddress, 0x1000000n, true);
  file.set(payload, 1024 + 0x100);
  return file;
}

const elf = new Uint8Array(5000).map((_, i) => [0x7f, 0x45, 0x4c, 0x46][i] ?? i % 251);

describe('bzImage', () => {
  it('gives the setup header', () => {
    const image = readBzImage(bzImage(new Uint8Array(64)));
    expect(image).toMatchObject({ protocol: 0x20f, version: '6.1.0-test', has64bitEntry: true, prefAddress: 0x1000000 });
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
      prefAddress: 0x1000000,
    });
  });

  it('says what is wrong with a file in one line', async () => {
    expect(isBzImage(elf)).toBe(false);
    expect(() => readBzImage(elf, 'vmlinuz')).toThrow(/^vmlinuz: no "HdrS"/);
    expect(() => readBzImage(bzImage(new Uint8Array(64), 0x0204))).toThrow('boot protocol 2.04');
    expect(() => readBzImage(bzImage(gzipSync(elf)).subarray(0, 1400))).toThrow('cut short');
    await expect(extractVmlinux(bzImage(new Uint8Array(64).fill(2)))).rejects.toThrow('lz4 or lzo');
    const damaged = gzipSync(elf);
    damaged.fill(0xff, 40, 80);
    await expect(extractVmlinux(bzImage(damaged))).rejects.toThrow(/damaged|bytes/);
  });
});
