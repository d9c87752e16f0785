import { claim, unknown, type Claim, type Ref } from './evidence.ts';
import type { P2mEvent } from './events.ts';
import { Rows } from './rows.ts';

/** Superpage orders of a p2m entry: 4 KiB, 2 MiB, 1 GiB. */
const ORDERS: readonly number[] = [0, 9, 18];
/** Orders are 16-bit numbers. */
const ORDER_RANGE = 65536;

// Columns: where the record stands; machine frame, p2m type, whether there is a frame at all.
const AT = 0;
const MFN = 0;
const TYPE = 2;
const PRESENT = 3;

/** gfn → mfn as SET_P2M records tell, the latest one of each frame. Grows with the guest's frames, not with the trace. */
export class P2mTable {
  private readonly rows = new Rows(1, 4);
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
    let row = table.get(event.gfn);
    if (row === undefined) {
      row = this.used++;
      table.set(event.gfn, row);
      this.rows.reserve(row);
    }
    this.file = event.ref.file;
    this.unit = event.ref.unit;
    this.rows.setDouble(row, AT, event.ref.at);
    this.rows.setBig(row, MFN, event.mfn ?? 0n);
    this.rows.setWord(row, TYPE, event.p2mType);
    this.rows.setWord(row, PRESENT, event.mfn === undefined ? 0 : 1);
  }

  /** Machine frame of a guest frame, with the record that says so. */
  lookup(domid: number, gfn: number): Claim<{ readonly mfn: bigint; readonly type: number }> {
    for (const order of ORDERS) {
      const first = gfn - (gfn % 2 ** order);
      const row = this.tables.get(domid * ORDER_RANGE + order)?.get(first);
      if (row !== undefined && this.rows.word(row, PRESENT) === 1) {
        return claim(
          { mfn: this.rows.big(row, MFN) + BigInt(gfn - first), type: this.rows.word(row, TYPE) >>> 0 },
          'proven',
          order === 0 ? 'SET_P2M record' : `SET_P2M record of 2^${order} frames`,
          [{ file: this.file, unit: this.unit, at: this.rows.double(row, AT) }],
        );
      }
    }
    return unknown(
      this.records === 0
        ? 'the trace holds no SET_P2M record: the p2m was filled before it began'
        : 'no SET_P2M record names this frame',
    );
  }
}
