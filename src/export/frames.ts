import { tellStory, type Analysis } from '../analyze/index.ts';
import { UserError } from '../base/errors.ts';
import { PcapngWriter } from '../net/pcapng.ts';

/** The story of a frame as one paragraph: what the frame is, and the sentences that sum its way up. */
function frameComment(analysis: Analysis, number: number): string {
  try {
    const story = tellStory(analysis, { packet: number });
    return [
      `${story.title}.`,
      ...story.summary.map((s) => (s.strength === 'proven' ? s.text : `${s.text} (${s.strength})`)),
    ].join('\n');
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
}

/**
 * Write the frames of an analysis as pcapng: times, directions and interfaces as they were captured, the story of each frame
 * behind the comments it had.
 * @returns frames written
 */
export function writeFrames(analysis: Analysis, sink: (bytes: Uint8Array) => void): number {
  const first = analysis.frames[0];
  if (first === undefined) throw new UserError('no frame to tell of: give a capture with --pcap');
  const nameOf = (frame: typeof first): string => frame.interfaceName ?? `interface ${frame.interfaceId}`;
  const writer = new PcapngWriter({
    clock: { epochUs: analysis.wallBase * 1e6, nowNs: () => 0 },
    interfaces: [nameOf(first)],
    sink,
  });
  const faces = new Map([[first.interfaceId, 0]]);
  for (const frame of analysis.frames) {
    let face = faces.get(frame.interfaceId);
    if (face === undefined) faces.set(frame.interfaceId, (face = writer.addInterface(nameOf(frame))));
    const comment = [...frame.comments, frameComment(analysis, frame.number)].join('\n');
    writer.write(frame.data, frame.direction, comment, frame.timeUs * 1000, { interfaceId: face, wireLength: frame.wireLength });
  }
  writer.flush();
  return writer.packets;
}
