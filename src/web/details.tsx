/** Panes of what is selected: its bytes, the registers of the live machine, and the numbers of the whole. */
import { signal } from '@preact/signals';
import { describeFrame, type RegisterReading } from '../library/index.ts';
import { cpu, lapic, nic, nicBefore, place, summary } from './state.ts';

const hex = (value: number | bigint, digits = 0): string => value.toString(16).padStart(digits, '0');

function HexDump({ bytes }: { readonly bytes: Uint8Array }) {
  const rows = Array.from({ length: Math.min(Math.ceil(bytes.length / 16), 128) }, (_, i) => bytes.subarray(i * 16, i * 16 + 16));
  return (
    <pre class="hex">
      {rows.map((row, i) => {
        const text = [...row].map((b) => (b >= 32 && b < 127 ? String.fromCharCode(b) : '·')).join('');
        return `${hex(i * 16, 4)}  ${[...row]
          .map((b) => hex(b, 2))
          .join(' ')
          .padEnd(47)}  ${text}\n`;
      })}
    </pre>
  );
}

/** Numbers that people read in hexadecimal. */
const HEXADECIMAL = new Set(['gpa', 'mfn', 'rip', 'port', 'vector', 'qualification', 'data', 'gfn']);
const shown = (name: string, value: unknown): string =>
  typeof value === 'bigint' || (typeof value === 'number' && HEXADECIMAL.has(name))
    ? `0x${hex(value)}`
    : typeof value === 'object'
      ? JSON.stringify(value)
      : String(value);

export function Bytes() {
  const found = place.value;
  return (
    <section class="pane bytes" aria-labelledby="bytes-title">
      <h2 id="bytes-title">Bytes</h2>
      {found === undefined && <p class="note">Select a step, a piece of evidence, a span or a packet: its bytes stand here.</p>}
      {found?.kind === 'record' && (
        <>
          <h3>
            Record {found.decoded.kind === 'event' || found.decoded.kind === 'unknown' ? found.name : found.decoded.kind} at
            trace+0x
            {hex(found.offset)}
          </h3>
          <dl>
            {Object.entries(found.decoded.kind === 'event' ? found.decoded.fields : found.decoded)
              .filter(([name]) => name !== 'class')
              .map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{shown(name, value)}</dd>
                </div>
              ))}
          </dl>
          <HexDump bytes={found.bytes} />
        </>
      )}
      {found?.kind === 'line' && (
        <>
          <h3>Line {found.number}</h3>
          <pre class="line">{found.text}</pre>
        </>
      )}
      {found?.kind === 'frame' && (
        <>
          <h3>
            Frame {found.number}: {describeFrame(found.bytes)}
          </h3>
          {found.comments.map((comment) => (
            <p key={comment}>{comment}</p>
          ))}
          <HexDump bytes={found.bytes} />
        </>
      )}
    </section>
  );
}

function RegisterRows({
  registers,
  before,
}: {
  readonly registers: readonly RegisterReading[];
  readonly before: ReadonlyMap<string, number>;
}) {
  return (
    <table>
      <thead>
        <tr>
          <th>offset</th>
          <th>register</th>
          <th>value</th>
          <th>fields</th>
        </tr>
      </thead>
      <tbody>
        {registers.map(({ name, dataSheet, offset, width, value, summary: fields, doc }) => {
          const old = before.get(name);
          return (
            <tr
              key={`${name}@${offset}`}
              class={old !== undefined && old !== value ? 'changed' : ''}
              title={`${dataSheet}: ${doc}`}
            >
              <td>0x{hex(offset, 2)}</td>
              <td>{name}</td>
              <td>
                0x{hex(value, width * 2)}
                {old !== undefined && old !== value && <small> was 0x{hex(old)}</small>}
              </td>
              <td>{fields}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

const chip = signal<'nic' | 'cpu' | 'lapic'>('nic');

export function Registers() {
  const state = nic.value;
  const general = cpu.value;
  return (
    <section class="pane registers" aria-labelledby="registers-title">
      <h2 id="registers-title">Registers</h2>
      <div class="tabs" role="tablist" aria-label="Whose registers">
        {(['nic', 'cpu', 'lapic'] as const).map((name) => (
          <button
            type="button"
            role="tab"
            key={name}
            aria-selected={chip.value === name}
            onClick={() => void (chip.value = name)}
          >
            {name === 'nic' ? (state?.model ?? 'NIC') : name === 'cpu' ? 'vCPU' : 'local APIC'}
          </button>
        ))}
      </div>
      <div class="scroll">
        {state === undefined && <p class="note">Pause or step the machine: its registers stand here, changed ones marked.</p>}
        {chip.value === 'nic' && state !== undefined && <RegisterRows registers={state.registers} before={nicBefore.value} />}
        {chip.value === 'lapic' && <RegisterRows registers={lapic.value} before={new Map()} />}
        {chip.value === 'cpu' && general !== undefined && (
          <dl>
            {Object.entries({ ...general.general, ...general.control }).map(([name, value]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>0x{hex(value, 16)}</dd>
              </div>
            ))}
            <div>
              <dt>rflags</dt>
              <dd>{general.flags.join(' ')}</dd>
            </div>
            <div>
              <dt>mode</dt>
              <dd>
                {general.mode}, CPL {general.cpl}
              </dd>
            </div>
          </dl>
        )}
      </div>
    </section>
  );
}

const us = (ns: number | undefined): string => (ns === undefined ? '' : (ns / 1000).toFixed(1));

interface Sorting {
  readonly column: string;
  readonly down: boolean;
}
const sorting = signal<Sorting>({ column: 'total', down: true });

function SortedTable<Row extends object>({
  caption,
  rows,
  columns,
}: {
  readonly caption: string;
  readonly rows: readonly Row[];
  readonly columns: Readonly<Record<string, (row: Row) => string | number | undefined>>;
}) {
  const { column, down } = sorting.value;
  const value = columns[column] ?? Object.values(columns)[0]!;
  const sorted = [...rows].sort((a, b) => {
    const [x, y] = [value(a) ?? -1, value(b) ?? -1];
    return (x < y ? -1 : x > y ? 1 : 0) * (down ? -1 : 1);
  });
  return (
    <table>
      <caption>{caption}</caption>
      <thead>
        <tr>
          {Object.keys(columns).map((name) => (
            <th key={name} aria-sort={name === column ? (down ? 'descending' : 'ascending') : 'none'}>
              <button type="button" onClick={() => void (sorting.value = { column: name, down: name === column ? !down : true })}>
                {name}
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {sorted.slice(0, 500).map((row, i) => (
          <tr key={i}>
            {Object.entries(columns).map(([name, of]) => {
              const cell = of(row);
              return <td key={name}>{typeof cell === 'number' && name !== 'count' ? us(cell) : cell}</td>;
            })}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

export function Numbers() {
  const found = summary.value;
  return (
    <section class="pane numbers" aria-labelledby="numbers-title">
      <h2 id="numbers-title">Numbers</h2>
      {found === undefined ? (
        <p class="note">Exits by reason and the dearest registers, in microseconds.</p>
      ) : (
        <div class="scroll">
          <SortedTable
            caption="VM exits, until the next entry (µs)"
            rows={found.exits}
            columns={{ reason: (r) => r.reason, count: (r) => r.count, total: (r) => r.total, mean: (r) => r.total / r.count }}
          />
          <SortedTable
            caption="Registers, exit to entry (µs)"
            rows={found.registers}
            columns={{
              register: (r) => `${r.register} ${r.write ? 'write' : 'read'}`,
              route: (r) => r.route,
              count: (r) => r.count,
              total: (r) => r.total,
              median: (r) => r.median,
              p99: (r) => r.p99,
            }}
          />
        </div>
      )}
    </section>
  );
}
