/** Finds a text in everything that is open; a hit is selected like anything else. */
import { signal } from '@preact/signals';
import { formatRef, type Hit } from '../library/index.ts';
import { ask, error, select, tell } from './state.ts';

const hits = signal<readonly Hit[] | undefined>(undefined);
const text = signal('');

async function search(): Promise<void> {
  try {
    hits.value = text.value.trim() === '' ? undefined : await ask({ kind: 'search', text: text.value });
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

export function Search() {
  const found = hits.value;
  return (
    <search
      onKeyDown={(event) => {
        if (event.key === 'Escape') hits.value = undefined;
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void search();
        }}
      >
        <input
          type="search"
          placeholder="Search: TxPoll, 0x118000, echo, log:120"
          aria-label="Search in packets, accesses, log and console"
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            if (text.value === '') hits.value = undefined;
          }}
        />
      </form>
      {found !== undefined && (
        <ul class="hits" aria-label="What was found">
          {found.length === 0 && <li class="note">Nothing holds that.</li>}
          {found.map(({ what, ref, ns }) => (
            <li key={formatRef(ref)}>
              <button
                type="button"
                onClick={() => {
                  hits.value = undefined;
                  if (ref.unit === 'frame') void tell(ref.at);
                  else void select(ref, ns);
                }}
              >
                <code>{formatRef(ref)}</code> {what}
              </button>
            </li>
          ))}
        </ul>
      )}
    </search>
  );
}
