/** Steps that were kept, with words of one's own, as Markdown for a mail; and what can be saved as a file. */
import { signal } from '@preact/signals';
import { type ExportForm, formatRef, renderStory } from '../library/index.ts';
import { liveFiles } from './machine.ts';
import { ask, error, hop, place, selection, source, story, summary } from './state.ts';

const notes = signal('');
const isOpen = signal(false);

/** Text of a file or a guest in a fence that it cannot end. */
function fenced(text: string): string {
  const longest = Math.max(2, ...[...text.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  return `${fence}\n${text}\n${fence}\n`;
}

/** Puts the selected step, or the whole story where none is selected, at the end of the notebook. */
export function keep(): void {
  const told = story.value;
  if (told === undefined) return;
  const { ref } = selection.value;
  const step = hop.value === undefined ? undefined : told.hops[hop.value];
  const lines: string[] = [];
  if (!notes.value.includes(told.title)) lines.push(`## ${told.title}\n`);
  if (step !== undefined) {
    const at = step.atNs === undefined ? '' : `+${(step.atNs / 1000).toFixed(3)} µs: `;
    lines.push(`- ${at}**${step.where}** ${step.text} (${step.strength}; ${step.refs.map(formatRef).join(', ')})\n`);
  } else for (const { text } of told.summary) lines.push(`- ${text}\n`);
  const found = place.value;
  if (found?.kind === 'line' && ref !== undefined) lines.push(fenced(`${formatRef(ref)}  ${found.text}`));
  notes.value += `${notes.value === '' ? '' : '\n'}${lines.join('\n')}`;
  isOpen.value = true;
}

/** Hands a file to the browser's downloads. */
function save(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const text = (...parts: string[]): Blob => new Blob(parts, { type: 'text/plain' });

const csv = (rows: readonly object[]): string => {
  const names = Object.keys(rows[0] ?? {});
  const cell = (value: unknown): string =>
    /[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? '');
  return [
    names.join(','),
    ...rows.map((row) => names.map((name) => cell((row as Record<string, unknown>)[name])).join(',')),
  ].join('\n');
};

async function exported(form: ExportForm, name: string): Promise<void> {
  try {
    save(name, await ask({ kind: 'export', form }));
  } catch (reason) {
    error.value = (reason as Error).message;
  }
}

async function saveLive(): Promise<void> {
  for (const [name, blob] of Object.entries(await liveFiles())) if (blob.size > 0) save(name, blob);
}

export function Save() {
  const told = story.value;
  const found = summary.value;
  return (
    <details class="menu">
      <summary>Save</summary>
      <ul>
        {told !== undefined && (
          <>
            <li>
              <button type="button" onClick={() => save('story.txt', text(renderStory(told, { width: 100 })))}>
                the story as text
              </button>
            </li>
            <li>
              <button type="button" onClick={() => save('story.json', text(JSON.stringify(told, undefined, 2)))}>
                the story as JSON
              </button>
            </li>
          </>
        )}
        {found !== undefined && (
          <>
            <li>
              <button type="button" onClick={() => save('registers.csv', text(csv(found.registers)))}>
                registers and what they cost, CSV
              </button>
            </li>
            <li>
              <button type="button" onClick={() => save('exits.csv', text(csv(found.exits)))}>
                exits by reason, CSV
              </button>
            </li>
            <li>
              <button type="button" onClick={() => void exported('io', 'io.csv')}>
                every access, CSV
              </button>
            </li>
            <li>
              <button type="button" onClick={() => void exported('perfetto', 'trace.pftrace')}>
                the trace for Perfetto
              </button>
            </li>
            <li>
              <button type="button" onClick={() => void exported('pcapng', 'told.pcapng')}>
                the capture, each frame with its story
              </button>
            </li>
          </>
        )}
        {source.value === 'live' && (
          <li>
            <button type="button" onClick={() => void saveLive()}>
              the machine's trace, log and capture
            </button>
          </li>
        )}
        <li>
          <button
            type="button"
            onClick={() => document.querySelector('canvas')?.toBlob((blob) => blob && save('timeline.png', blob))}
          >
            the timeline as a picture
          </button>
        </li>
      </ul>
    </details>
  );
}

export function Notebook() {
  if (!isOpen.value)
    return (
      <button type="button" onClick={() => void (isOpen.value = true)}>
        Notebook
      </button>
    );
  return (
    <>
      <button type="button" aria-expanded="true" onClick={() => void (isOpen.value = false)}>
        Notebook
      </button>
      <aside class="notebook" aria-label="Notebook">
        <div class="head">
          <h2>Notebook</h2>
          <button type="button" onClick={keep}>
            Keep the selected step
          </button>
          <button type="button" onClick={() => void navigator.clipboard.writeText(notes.value).catch(() => {})}>
            Copy
          </button>
          <button type="button" onClick={() => save('notebook.md', text(notes.value))}>
            Save
          </button>
          <button type="button" onClick={() => void (isOpen.value = false)}>
            Close
          </button>
        </div>
        <textarea
          aria-label="Kept steps, as Markdown"
          placeholder="Steps that you keep stand here as Markdown, ready for a mail. Write between them what you like."
          value={notes.value}
          onInput={(event) => void (notes.value = event.currentTarget.value)}
        />
      </aside>
    </>
  );
}
