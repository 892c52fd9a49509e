/** Messages of the MongoDB wire protocol, as far as a play between a driver and a server needs them. */
import { BSON, type Document } from 'mongodb';

export interface Message {
  /** Of the request; an answer names it. */
  readonly id: number;
  /** Name of the first field: `find`, `update`, … */
  readonly command: string;
  readonly body: Document;
  /** It may be answered again and again: a monitor listens. */
  readonly listens: boolean;
  readonly bytes: Buffer;
}

const OP_REPLY = 1;
const OP_QUERY = 2004;
const OP_MSG = 2013;
const HEAD = 16;
/** Of an OP_MSG: the flags, and the kind of the first section. */
const MSG_HEAD = HEAD + 5;
/** Of an OP_REPLY: flags, cursor, start and number. */
const REPLY_HEAD = HEAD + 20;

const MORE_TO_COME = 1 << 1;
const EXHAUST_ALLOWED = 1 << 16;

/** What takes bytes as they come, and calls for every whole message. */
export function splitMessages(call: (bytes: Buffer) => void): (bytes: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    while (rest.length >= 4 && rest.length >= rest.readUInt32LE(0)) {
      const length = rest.readUInt32LE(0);
      call(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  };
}

export const readMessages = (call: (message: Message) => void): ((bytes: Buffer) => void) =>
  splitMessages((bytes) => call(messageOf(bytes)));

/** Numbers keep their types. */
function messageOf(bytes: Buffer): Message {
  const start = bodyOf(bytes);
  const body = BSON.deserialize(bytes.subarray(start, start + bytes.readUInt32LE(start)), {
    promoteValues: false,
    promoteBuffers: false,
  });
  const listens =
    bytes.readUInt32LE(12) === OP_MSG &&
    (bytes.readUInt32LE(HEAD) & EXHAUST_ALLOWED) !== 0 &&
    'maxAwaitTimeMS' in body;
  return { id: bytes.readUInt32LE(4), command: Object.keys(body)[0] ?? '', body, listens, bytes };
}

/** Where the document begins. A driver says its first hello as an OP_QUERY, and sends the body as the first section else. */
function bodyOf(bytes: Buffer): number {
  const kind = bytes.readUInt32LE(12);
  if (kind === OP_MSG) return MSG_HEAD;
  if (kind !== OP_QUERY) throw new Error(`a message of kind ${kind} was not expected`);
  return bytes.indexOf(0, HEAD + 4) + 1 + 8;
}

/** The same message with another body; what follows it (the documents of an insert) stays. */
export function rewritten({ bytes, body }: Message, change: (body: Document) => Document): Buffer {
  const start = bodyOf(bytes);
  const fresh = BSON.serialize(change(body));
  const rest = bytes.subarray(start + bytes.readUInt32LE(start));
  const whole = Buffer.concat([bytes.subarray(0, start), fresh, rest]);
  whole.writeUInt32LE(whole.length, 0);
  return whole;
}

/** @param more others follow to the same request */
export function answerTo({ id, bytes }: Message, body: Document, more = false): Buffer {
  const document = BSON.serialize(body);
  const isQuery = bytes.readUInt32LE(12) === OP_QUERY;
  const head = Buffer.alloc(isQuery ? REPLY_HEAD : MSG_HEAD);
  head.writeUInt32LE(head.length + document.length, 0);
  head.writeUInt32LE(id, 8);
  head.writeUInt32LE(isQuery ? OP_REPLY : OP_MSG, 12);
  if (isQuery) head.writeUInt32LE(1, REPLY_HEAD - 4);
  else if (more) head.writeUInt32LE(MORE_TO_COME, HEAD);
  return Buffer.concat([head, document]);
}
