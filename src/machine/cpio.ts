/** A cpio archive in the "new ASCII" (newc) form, as the kernel unpacks an initramfs. Source: Documentation/driver-api/early-userspace/buffer-format.rst. */

export interface CpioEntry {
  /** Path without a leading slash. Its directories are entries of their own, before it. */
  path: string;
  /** File type and permissions, as in stat's st_mode. */
  mode: number;
  data?: Uint8Array;
  /** Character or block device. */
  device?: { major: number; minor: number };
}

export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;

/** Archive the entries in the order given. No time, owner or inode of the building machine gets in: same entries, same bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let size = 0;
  const put = (bytes: Uint8Array): void => {
    parts.push(bytes);
    size += bytes.length;
    const pad = -size & 3;
    if (pad) {
      parts.push(new Uint8Array(pad));
      size += pad;
    }
  };
  const text = new TextEncoder();
  const record = (entry: CpioEntry, inode: number): void => {
    const data = entry.data ?? new Uint8Array(0);
    const name = text.encode(`${entry.path}\0`);
    const links = (entry.mode & 0o170000) === S_IFDIR ? 2 : 1;
    const fields = [
      inode,
      entry.mode,
      0,
      0,
      links,
      0,
      data.length,
      0,
      0,
      entry.device?.major ?? 0,
      entry.device?.minor ?? 0,
      name.length,
      0,
    ];
    const header = text.encode(`070701${fields.map((f) => f.toString(16).toUpperCase().padStart(8, '0')).join('')}`);
    const head = new Uint8Array(header.length + name.length);
    head.set(header);
    head.set(name, header.length);
    put(head);
    put(data);
  };
  entries.forEach((entry, i) => record(entry, i + 1));
  record({ path: 'TRAILER!!!', mode: 0 }, 0);
  const archive = new Uint8Array((size + 511) & ~511);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}
