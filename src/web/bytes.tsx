/** Bytes of what is selected: each leads to its field and back. */
import { signal } from '@preact/signals';
import { type ByteField, describeFrame } from '../library/index.ts';
import { place } from './state.ts';

export const hex = (value: number | bigint, digits = 0): string => value.toString(16).padStart(digits, '0');

/** Bytes that are shown one by one; more are a plain dump. */
const MOST_BYTES = 1536;

/** The field under the pointer or the focus. */
const lit = signal<string | undefined>(undefined);

function Dump({ bytes, fields }: { readonly bytes: Uint8Array; readonly fields: readonly ByteField[] }) {
  const shown = bytes.subarray(0, MOST_BYTES);
  const fieldAt = (at: number): ByteField | undefined =>
    fields.find(({ offset, length }) => at >= offset && at < offset + length);
  const mark = (at: number): string | undefined => {
    const field = fieldAt(at);
    return field !== undefined && field.name === lit.value ? 'lit' : undefined;
  };
  const rows = Array.from({ length: Math.ceil(shown.length / 16) }, (_, i) => i * 16);
  return (
    // The list of fields does the same with the keyboard.
    // biome-ignore lint/a11y/useKeyWithMouseEvents: see above
    // biome-ignore lint/a11y/noStaticElementInteractions: see above
    <div
      class="hex"
      onMouseLeave={() => void (lit.value = undefined)}
      onMouseOver={(event) => {
        const at = (event.target as HTMLElement).dataset['at'];
        if (at !== undefined) lit.value = fieldAt(Number(at))?.name;
      }}
    >
      {rows.map((from) => {
        const row = [...shown.subarray(from, from + 16)];
        return (
          <div key={from}>
            <span class="offset">{hex(from, 4)}</span>
            <span class="cells">
              {row.map((byte, i) => (
                <i key={i} data-at={from + i} class={mark(from + i)}>
                  {hex(byte, 2)}
                </i>
              ))}
            </span>
            <span class="text">
              {row.map((byte, i) => (
                <i key={i} data-at={from + i} class={mark(from + i)}>
                  {byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '·'}
                </i>
              ))}
            </span>
          </div>
        );
      })}
      {bytes.length > MOST_BYTES && <p class="note">{bytes.length - MOST_BYTES} bytes more are not shown.</p>}
    </div>
  );
}

function Fields({ fields }: { readonly fields: readonly ByteField[] }) {
  return (
    <ul class="fields">
      {fields.map((field) => (
        <li key={field.offset}>
          <button
            type="button"
            class={field.name === lit.value ? 'lit' : ''}
            onMouseEnter={() => void (lit.value = field.name)}
            onFocus={() => void (lit.value = field.name)}
            onClick={() => void (lit.value = field.name)}
          >
            <span>{field.name}</span> {field.text}
          </button>
        </li>
      ))}
    </ul>
  );
}

/** Numbers that people read in hexadecimal. */
const HEXADECIMAL = new Set(['gpa', 'mfn', 'rip', 'port', 'vector', 'qualification', 'data', 'gfn', 'va', 'eip', 'value']);
function shown(name: string, value: unknown): string {
  if (typeof value === 'bigint' || (typeof value === 'number' && HEXADECIMAL.has(name))) return `0x${hex(value)}`;
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

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
              .filter(([name]) => name !== 'class' && name !== 'kind')
              .map(([name, value]) => (
                <div key={name}>
                  <dt>{name}</dt>
                  <dd>{shown(name, value)}</dd>
                </div>
              ))}
          </dl>
          <Dump bytes={found.bytes} fields={found.fields} />
          <Fields fields={found.fields} />
        </>
      )}
      {found?.kind === 'line' && (
        <>
          <h3>Line {found.number}</h3>
          <pre class="line">
            {found.before.map((text, i) => (
              <span key={`b${i}`}>
                {text}
                {'\n'}
              </span>
            ))}
            <mark>{found.text}</mark>
            {'\n'}
            {found.after.map((text, i) => (
              <span key={`a${i}`}>
                {text}
                {'\n'}
              </span>
            ))}
          </pre>
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
          <Dump bytes={found.bytes} fields={found.fields} />
          <Fields fields={found.fields} />
        </>
      )}
    </section>
  );
}
