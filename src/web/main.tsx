/** The page: a live machine, files that are dropped, and panes that follow one selection. */
import { render } from 'preact';
import { Bytes, Numbers, Registers } from './details.tsx';
import { Live } from './live.tsx';
import { start } from './machine.ts';
import { error, openFiles, progress } from './state.ts';
import { Addresses, Packets, StoryPane } from './story.tsx';
import { TimelinePane } from './timeline.tsx';
import '@xterm/xterm/css/xterm.css';
import './style.css';

const take = (files: FileList | null | undefined): void => {
  if (!files?.length) return;
  void openFiles({ kind: 'drop', files: [...files].map((blob) => ({ name: blob.name, blob })) });
};

function App() {
  return (
    <>
      <header>
        <h1>Xenolith</h1>
        <p>A Xen HVM machine that can be seen through. Everything runs and stays in this page: nothing leaves your machine.</p>
        <label class="drop">
          Your files: drop a trace of xentrace, a device-model log, a capture, or a mail that quotes them{' '}
          <input type="file" multiple onChange={(e) => take(e.currentTarget.files)} />
        </label>
      </header>
      <div role="status" aria-live="polite" class="status">
        {progress.value !== undefined && <progress aria-label="Reading the files" max="1" value={progress.value} />}
        {error.value !== undefined && <p class="error">{error.value}</p>}
      </div>
      <main>
        <Live />
        <Packets />
        <TimelinePane />
        <StoryPane />
        <Addresses />
        <Bytes />
        <Registers />
        <Numbers />
      </main>
    </>
  );
}

addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  take(event.dataTransfer?.files);
});
render(<App />, document.querySelector('#app')!);
void start();
