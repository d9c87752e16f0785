/**
 * Copies of one record in a text: a mail holds its text twice (plain and as HTML), an answer quotes what it answers. Each record
 * is read once.
 */

/** Records that are remembered. Mails are small; a dump of gigabytes has one copy of each record. */
const MAX_REMEMBERED = 20_000;
/** Parts that a mail may have. */
const MAX_BOUNDARIES = 100;

export class TextCopies {
  /** Records left out because they were read before. */
  repeated = 0;
  private part = 0;
  private readonly boundaries = new Set<string>();
  /** How often each copy has a record. */
  private readonly seen = new Map<string, Map<string, number>>();
  private lastRepeated = false;

  /** Takes a line as it stands in the file. @returns whether another part, or another mail, begins with it */
  nextPart(raw: string): boolean {
    const boundary = /\bboundary="?([^";\s]{1,70})/i.exec(raw)?.[1];
    if (boundary !== undefined && this.boundaries.size < MAX_BOUNDARIES) this.boundaries.add(`--${boundary}`);
    const begins =
      (raw.startsWith('--') && this.boundaries.has(raw.trimEnd())) || /^(?:From \S+ .*\d{4}$|Message-ID:)/i.test(raw);
    if (begins) this.part++;
    return begins;
  }

  /** The copy that a line belongs to: its part, and how deep it is quoted. */
  copyOf(raw: string): string {
    const quotes = /^[\s>|]*/.exec(raw)![0].replaceAll(/[^>]/g, '').length;
    return `${this.part} ${quotes}`;
  }

  /**
   * Whether a record was read before in another copy.
   * @param timed the record has a time of its own, so that no other is equal to it
   */
  isRepeat(text: string, copy: string, timed: boolean): boolean {
    const key = text
      .replace(/^[\s\]!]+/, '')
      .replaceAll(/\s+/g, ' ')
      .trimEnd();
    let counts = this.seen.get(key);
    if (counts === undefined) {
      this.lastRepeated = false;
      if (this.seen.size >= MAX_REMEMBERED) return false;
      counts = new Map();
      this.seen.set(key, counts);
    }
    const here = (counts.get(copy) ?? 0) + 1;
    counts.set(copy, here);
    let most = 0;
    let elsewhere = 0;
    for (const [other, count] of counts) {
      if (other === copy) continue;
      most = Math.max(most, count);
      if (other.split(' ', 1)[0] !== copy.split(' ', 1)[0]) elsewhere = Math.max(elsewhere, count);
    }
    // A line without a time may be written twice: it repeats one before where its whole part does, or behind one that does.
    const repeats = here <= (timed || this.lastRepeated ? most : elsewhere);
    this.lastRepeated = repeats;
    if (repeats) this.repeated++;
    return repeats;
  }
}
