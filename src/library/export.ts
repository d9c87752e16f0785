/** Open files in the forms of other tools. */
import { UserError } from '../base/errors.ts';
import type { OpenFiles } from './files.ts';

/** `perfetto`: for ui.perfetto.dev. `io`: one row an access, as CSV. `pcapng`: the frames with the requests that sent them. */
export type ExportForm = 'perfetto' | 'io' | 'pcapng';

/**
 * The files in another form.
 * @throws UserError where there is no trace, or nothing to export
 */
export async function exportFiles(files: OpenFiles, form: ExportForm): Promise<Blob> {
  const { trace } = files;
  const analysis = await files.analysis();
  const parts: BlobPart[] = [];
  if (form === 'pcapng') {
    const { writeFrames } = await import('../export/frames.ts');
    if (writeFrames(analysis, (bytes) => void parts.push(bytes.slice() as BlobPart)) === 0)
      throw new UserError('there is no capture to export; open one, or run the machine');
    return new Blob(parts);
  }
  if (trace === undefined) throw new UserError('there is no trace to export; open one, or run the machine');
  const { startOf, writePerfetto } = await import('../export/perfetto.ts');
  const startUs = startOf(analysis);
  const who = {
    host: 'host',
    file: 'trace',
    startUs: startUs ?? 0,
    startBy: startUs === undefined ? ('told' as const) : ('device-model log' as const),
  };
  if (form === 'perfetto') await writePerfetto(trace, analysis, who, (bytes) => void parts.push(bytes.slice() as BlobPart));
  else {
    const [{ traceRows }, { LineRows }] = await Promise.all([import('../export/rows.ts'), import('../export/text.ts')]);
    const rows = new LineRows('io', 'csv', (text) => void parts.push(text));
    await traceRows(trace, analysis, who, new Set(['io']), rows);
    rows.end();
  }
  return new Blob(parts);
}
