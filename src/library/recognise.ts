/** What a file is, by its first bytes. */
import { compressionOf, isTar } from '../machine/archive.ts';
import { TRC_TRACE_CPU_CHANGE } from '../trace/index.ts';

export type FileKind = 'trace' | 'capture' | 'log' | 'text' | 'console' | 'unknown';

/** First word of every xentrace file: a CPU-change record with two extra words. */
const TRACE_MAGIC = (TRC_TRACE_CPU_CHANGE | (2 << 28)) >>> 0;
/** pcapng's section header; pcap with micro- and nanoseconds, both byte orders. */
const CAPTURE_MAGICS = [0x0a0d0d0a, 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1];

/** Bytes that are looked at. */
export const HEAD_BYTES = 1 << 16;

/** @param head the file's first bytes, HEAD_BYTES of them or the whole file */
export function recogniseFile(head: Uint8Array): FileKind {
  if (head.length >= 4) {
    const magic = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
    if (magic === TRACE_MAGIC) return 'trace';
    if (CAPTURE_MAGICS.includes(magic)) return 'capture';
  }
  if (head.length === 0 || head.includes(0)) return 'unknown';
  const text = new TextDecoder().decode(head);
  if (looksQuoted(text)) return 'text';
  if (/handle_ioreq|cpu_ioreq_|xen_map_cache|xen_remap_bucket|xen: I\/O request|xenolith clock/.test(text)) return 'log';
  if (/\[\s*\d+\.\d{6}\]|Linux version|tiny guest/.test(text)) return 'console';
  return 'text';
}

/** A mail, or text of xenalyze: a mail quotes records beside log lines, and a log has no record lines. */
export const looksQuoted = (text: string): boolean =>
  /^\W*\d[\d.]*\s+[-x|.\s]*[-x|]\s+d\d+v\d+/m.test(text) || /^(From|Subject|Message-ID):/im.test(text);

/** Whether a file is compressed, or an archive: xz, gzip, bzip2, zstd, zip, 7z, tar. */
export function isPacked(head: Uint8Array): boolean {
  const begins = (...bytes: number[]): boolean => bytes.every((byte, i) => head[i] === byte);
  return compressionOf(head) !== undefined || begins(0x50, 0x4b, 0x03, 0x04) || begins(0x37, 0x7a, 0xbc, 0xaf) || isTar(head);
}

/** What an image is that a machine boots, by its first bytes: an ELF or bzImage kernel, or an initramfs. */
export function recogniseImage(head: Uint8Array): 'kernel' | 'initrd' | undefined {
  const text = (at: number, length: number): string => String.fromCharCode(...head.subarray(at, at + length));
  if (text(0, 4) === '\x7fELF' || text(0x202, 4) === 'HdrS') return 'kernel';
  return text(0, 5) === '07070' ? 'initrd' : undefined;
}
