import { claim, unknown, type Claim, type Ref } from './evidence.ts';
import type { P2mEvent } from './events.ts';
import { Rows } from './rows.ts';

/** Superpage orders of a p2m entry: 4 KiB, 2 MiB, 1 GiB. */
const ORDERS: readonly number[] = [0, 9, 18];
/** Orders are 16-bit numbers. */
const ORDER_RANGE = 65536;

// Columns: where the record stands and when; machine frame, p2m type, whether there is a frame at all, the row that it took the place of.
const AT = 0;
const TIME = 1;
const MFN = 0;
const TYPE = 2;
const PRESENT = 3;
/** From 1; 0: none. */
const BEFORE = 4;

/** gfn → mfn as SET_P2M records tell. Grows with the guest's frames, and with their changes. */
export class P2mTable {
  private readonly rows = new Rows(2, 5);
  /** Row of each first guest frame, by domain and order. */
  private readonly tables = new Map<number, Map<number, number>>();
  private used = 0;
  private file: Ref['file'] = 'trace';
  private unit: Ref['unit'] = 'offset';
  /** Records taken in. */
  records = 0;

  add(event: P2mEvent): void {
    this.records++;
    const key = event.domid * ORDER_RANGE + event.order;
    let table = this.tables.get(key);
    if (table === undefined) this.tables.set(key, (table = new Map()));
    const before = table.get(event.gfn);
    const mfn = event.mfn ?? 0n;
    const present = event.mfn === undefined ? 0 : 1;
    if (
      before !== undefined &&
      this.rows.big(before, MFN) === mfn &&
      this.rows.word(before, PRESENT) === present &&
      this.rows.word(before, TYPE) === (event.p2mType | 0)
    )
      return;
    const row = this.used++;
    table.set(event.gfn, row);
    this.rows.reserve(row);
    this.rows.setWord(row, BEFORE, (before ?? -1) + 1);
    this.rows.setDouble(row, TIME, event.timeNs);
    this.file = event.ref.file;
    this.unit = event.ref.unit;
    this.rows.setDouble(row, AT, event.ref.at);
    this.rows.setBig(row, MFN, mfn);
    this.rows.setWord(row, TYPE, event.p2mType);
    this.rows.setWord(row, PRESENT, present);
  }

  /** Multiplies every time: the trace's ticks have another length than was taken. */
  rescale(factor: number): void {
    for (let row = 0; row < this.used; row++) this.rows.setDouble(row, TIME, this.rows.double(row, TIME) * factor);
  }

  /**
   * Machine frame of a guest frame, with the record that says so: of all that cover the frame the latest before a time.
   * @param timeNs trace time; the end of the trace when left out
   */
  lookup(domid: number, gfn: number, timeNs = Infinity): Claim<{ readonly mfn: bigint; readonly type: number }> {
    let best: { row: number; order: number; timeNs: number } | undefined;
    for (const order of ORDERS) {
      let row = this.tables.get(domid * ORDER_RANGE + order)?.get(gfn - (gfn % 2 ** order));
      while (row !== undefined && this.rows.double(row, TIME) > timeNs) {
        const before = this.rows.word(row, BEFORE);
        row = before === 0 ? undefined : before - 1;
      }
      if (row === undefined) continue;
      const at = this.rows.double(row, TIME);
      if (best === undefined || at > best.timeNs) best = { row, order, timeNs: at };
    }
    if (best !== undefined && this.rows.word(best.row, PRESENT) === 1) {
      const { row, order } = best;
      return claim(
        { mfn: this.rows.big(row, MFN) + BigInt(gfn % 2 ** order), type: this.rows.word(row, TYPE) >>> 0 },
        'proven',
        order === 0 ? 'SET_P2M record' : `SET_P2M record of 2^${order} frames`,
        [{ file: this.file, unit: this.unit, at: this.rows.double(row, AT) }],
      );
    }
    return unknown(
      this.records === 0
        ? 'the trace holds no SET_P2M record; Xen fills most of the p2m when it builds the guest'
        : best !== undefined
          ? 'the latest SET_P2M record before it says that no machine frame is mapped'
          : 'no SET_P2M record names this frame before that time',
    );
  }
}
