/** The page: a live machine, files that are dropped, and panes that follow one selection. */
import { render } from 'preact';
import { isRecording } from '../library/index.ts';
import { Addresses } from './addresses.tsx';
import { Bytes } from './bytes.tsx';
import { Compare } from './compare.tsx';
import { Live } from './live.tsx';
import { begin, takeImages } from './machine.ts';
import { Notebook, Save } from './notebook.tsx';
import { Numbers } from './numbers.tsx';
import { Registers } from './registers.tsx';
import { Search } from './search.tsx';
import { error, openFiles, progress } from './state.ts';
import { Packets, StoryPane } from './story.tsx';
import { TimelinePane } from './timeline.tsx';
import { Tour, TourButton } from './tour.tsx';
import { beginRecording } from './travel.ts';
import '@xterm/xterm/css/xterm.css';
import './style.css';

/** A recording among what was dropped: it brings all files of its own. */
async function findRecording(files: FileList): Promise<File | undefined> {
  for (const file of files) if (isRecording(new Uint8Array(await file.slice(0, 8).arrayBuffer()))) return file;
  return undefined;
}

async function take(files: FileList | null | undefined): Promise<void> {
  if (!files?.length) return;
  const recording = await findRecording(files);
  if (recording !== undefined) return beginRecording(recording);
  const rest = await takeImages([...files]);
  if (rest.length > 0) await openFiles({ kind: 'drop', files: rest.map((blob) => ({ name: blob.name, blob })) });
}

function App() {
  return (
    <>
      <header>
        <h1>Xenolith</h1>
        <TourButton />
        <label class="drop">
          <b>Your files</b> drop or choose a trace, a device-model log, a capture, a mail; a recording; a kernel
          <input type="file" multiple onChange={(e) => void take(e.currentTarget.files)} />
        </label>
        <Search />
        <Save />
        <Notebook />
        <p class="promise">Everything runs and stays in this page. Nothing leaves your machine.</p>
      </header>
      <div role="status" aria-live="polite" class="status">
        {progress.value !== undefined && <progress aria-label="Reading the files" max="1" value={progress.value} />}
        {error.value !== undefined && (
          <p class="error">
            {error.value}{' '}
            <button type="button" class="ask" onClick={() => void (error.value = undefined)}>
              dismiss
            </button>
          </p>
        )}
      </div>
      <main>
        <div class="row top">
          <Live />
          <Packets />
        </div>
        <TimelinePane />
        <div class="row">
          <StoryPane />
          <div class="stack">
            <Addresses />
            <Bytes />
            <Registers />
          </div>
        </div>
        <Compare />
        <Numbers />
      </main>
      <Tour />
    </>
  );
}

addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dragged');
});
for (const name of ['dragleave', 'drop']) addEventListener(name, () => document.body.classList.remove('dragged'));
addEventListener('drop', (event) => {
  event.preventDefault();
  void take(event.dataTransfer?.files);
});
addEventListener('keydown', (event) => {
  const isTyping = event.target instanceof Element && event.target.closest('input, textarea, select, .xterm') !== null;
  if (event.key !== '/' || isTyping) return;
  event.preventDefault();
  document.querySelector<HTMLInputElement>('input[type=search]')?.focus();
});
render(<App />, document.querySelector('#app')!);
void begin();
