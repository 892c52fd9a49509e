/**
 * Multipart uploads that have begun and not ended. Each costs storage and is seen by nobody until it is completed, so
 * every one is continued or aborted: by the next put of its key, by its deletion, or when its ledger is a week old.
 */
import type { S3 } from '@aws-sdk/client-s3';
import { LongshoreError } from '../../errors.ts';
import { isWithout, noServer, reasonOf } from './errors.ts';
import { bareTag, etagOfParts } from './etags.ts';
import {
  beginLedger,
  type LedgerHead,
  type LedgerPart,
  ledgerPath,
  type OpenLedger,
  oldLedgers,
  readLedger,
  removeLedger,
} from './ledger.ts';
import type { PartPlan } from './parts.ts';
import type { S3Session } from './session.ts';
import { statObject } from './stat.ts';

const WEEK_MS = 7 * 24 * 3600 * 1000;
/** A worker that was told to stop has little time; what is not aborted is found by its ledger. */
const ABORT_MS = 5_000;

export interface UploadWish {
  readonly key: string;
  readonly task_id: string;
  readonly plan: PartPlan;
  /** For PutObject and CreateMultipartUpload alike. */
  readonly made_with: MadeWith;
  readonly signal: AbortSignal | undefined;
}

export interface MadeWith {
  readonly Metadata: Record<string, string>;
  readonly StorageClass?: Parameters<S3['putObject']>[0]['StorageClass'];
}

export interface Unfinished {
  readonly upload_id: string;
  /** Parts of an earlier attempt that the server has, by number. */
  readonly kept: ReadonlyMap<number, LedgerPart>;
  /** False: the server has no way to say what it has; the ledger alone speaks for it. */
  readonly confirmed: boolean;
  /** The parts are an object already: the earlier attempt ended between that and its last word. */
  readonly completed: boolean;
  readonly ledger: OpenLedger;
}

/** Goes on with what an earlier attempt has left, or begins anew. */
export async function openUpload(session: S3Session, wish: UploadWish): Promise<Unfinished> {
  const { options } = session;
  const { endpoint, bucket } = options;
  const { key, task_id, plan, signal } = wish;
  const path = pathOf(session, key);
  const made_with = JSON.stringify(wish.made_with);
  await abortOld(session, signal);
  const found = readLedger(path);
  if (found !== null && made_with === found.head.made_with && samePlan(plan, found.head.plan)) {
    const { upload_id } = found.head;
    const stated = await statedParts(session, key, upload_id, signal);
    if (stated !== 'gone') {
      const parts = [...found.parts.values()].filter((part) => stated === 'untold' || isStated(part, stated));
      await abortOthers(session, key, upload_id, signal);
      const kept = new Map(parts.map((part) => [part.number, part]));
      const ledger = beginLedger(path, { ...found.head, task_id }, parts);
      return { upload_id, kept, confirmed: stated !== 'untold', completed: false, ledger };
    }
    if (await isCompleted(session, key, found.parts, signal)) {
      const ledger = beginLedger(path, { ...found.head, task_id }, found.parts.values());
      return { upload_id, kept: found.parts, confirmed: true, completed: true, ledger };
    }
  }
  await forgetUpload(session, key, signal);
  await abortOthers(session, key, null, signal);
  const { UploadId } = await session.ask(key, signal, (s3, how) =>
    s3.createMultipartUpload({ Bucket: bucket, Key: key, ...wish.made_with }, how),
  );
  if (UploadId === undefined) throw noServer(session.place(key), 'UploadId');
  const head: LedgerHead = { v: 1, endpoint, bucket, key, upload_id: UploadId, plan, made_with, task_id };
  const ledger = beginLedger(path, head, []);
  return { upload_id: UploadId, kept: new Map(), confirmed: true, completed: false, ledger };
}

/** Aborts the upload that this host has begun for the key, if there is one. */
export async function forgetUpload(
  session: S3Session,
  key: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = pathOf(session, key);
  const found = readLedger(path);
  if (found !== null) await abort(session, key, found.head.upload_id, signal);
  removeLedger(path);
}

/** The same after a failure, in little time and without another error; true when nothing is left of it. */
export async function dropUpload(session: S3Session, key: string): Promise<boolean> {
  try {
    await forgetUpload(session, key, AbortSignal.timeout(ABORT_MS));
    return true;
  } catch {
    return false; // The ledger stays, and with it the next chance to do it.
  }
}

/** Every unfinished upload of the key, whoever began it, but `except`. */
export async function abortOthers(
  session: S3Session,
  key: string,
  except: string | null,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { bucket: Bucket } = session.options;
  let from: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | null = {};
  while (from !== null) {
    const marker: object = from;
    const page = await session
      .ask(key, signal, (s3, how) => s3.listMultipartUploads({ Bucket, Prefix: key, ...marker }, how))
      .catch(toleratingAbsence);
    if (page !== null && page.IsTruncated === undefined) throw noServer(session.place(key), 'end of a list');
    for (const one of page?.Uploads ?? [])
      if (one.Key === key && one.UploadId !== undefined && one.UploadId !== except)
        await abort(session, key, one.UploadId, signal);
    from =
      page?.IsTruncated === true
        ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
        : null;
  }
}

/** The upload is over: completed, or unknown to the server. */
export const closeUpload = (session: S3Session, key: string): boolean => removeLedger(pathOf(session, key));

const pathOf = ({ options }: S3Session, key: string): string =>
  ledgerPath(options.state_dir, { endpoint: options.endpoint, bucket: options.bucket, key });

const samePlan = (one: PartPlan, other: PartPlan): boolean =>
  one.part_bytes === other.part_bytes && one.grows === other.grows;

interface StatedPart {
  readonly size: number;
  readonly etag: string;
}

const isStated = (part: LedgerPart, stated: ReadonlyMap<number, StatedPart>): boolean => {
  const one = stated.get(part.number);
  return one !== undefined && one.size === part.size && one.etag === part.etag;
};

/** What the server has of an upload; `gone`: it knows none of this id; `untold`: it cannot list parts. */
async function statedParts(
  session: S3Session,
  key: string,
  upload_id: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, StatedPart> | 'gone' | 'untold'> {
  const { bucket: Bucket } = session.options;
  const stated = new Map<number, StatedPart>();
  let marker: string | null = '';
  while (marker !== null) {
    const after: object = marker === '' ? {} : { PartNumberMarker: marker };
    try {
      const page = await session.ask(key, signal, (s3, how) =>
        s3.listParts({ Bucket, Key: key, UploadId: upload_id, ...after }, how),
      );
      if (page.IsTruncated === undefined) throw noServer(session.place(key), 'end of a list');
      for (const { PartNumber = 0, Size = -1, ETag = '' } of page.Parts ?? [])
        stated.set(PartNumber, { size: Size, etag: bareTag(ETag) });
      marker = page.IsTruncated === true ? (page.NextPartNumberMarker ?? null) : null;
    } catch (error) {
      if (reasonOf(error) === 'NoSuchUpload') return 'gone';
      if (isWithout(error)) return 'untold';
      throw error;
    }
  }
  return stated;
}

/** Whether the object is made of just these parts. */
async function isCompleted(
  session: S3Session,
  key: string,
  parts: ReadonlyMap<number, LedgerPart>,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  const md5s = Array.from({ length: parts.size }, (_, index) => parts.get(index + 1)?.md5 ?? '');
  return (await statObject(session, key, signal))?.etag === etagOfParts(md5s);
}

/**
 * S3 may take a part that was under way after the abort, and keep it: it says itself to look, and to ask again. It says 204 of
 * an abort; of another answer, which may be the page of a proxy, only a server that knows the upload no more makes an abort.
 */
async function abort(
  session: S3Session,
  key: string,
  upload_id: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { bucket: Bucket } = session.options;
  let told = false;
  for (let tries = 0; tries < 3; tries++) {
    const answer = await session
      .ask(key, signal, (s3, how) => s3.abortMultipartUpload({ Bucket, Key: key, UploadId: upload_id }, how))
      .catch(toleratingAbsence);
    told = answer === null || answer.$metadata.httpStatusCode === 204;
    const left = await statedParts(session, key, upload_id, signal);
    if (left === 'gone' || left === 'untold' || (told && left.size === 0)) return;
  }
  const place = session.place(key);
  if (!told) throw noServer(place, 'status 204');
  throw new LongshoreError(
    'E_ARCHIVE_UNAVAILABLE',
    `the server keeps parts of an upload of ${place.location} that was aborted`,
    { fields: { archive: place.archive, location: place.location, upload_id } },
  );
}

async function abortOld(session: S3Session, signal: AbortSignal | undefined): Promise<void> {
  const { state_dir, endpoint, bucket } = session.options;
  for (const { path, head } of oldLedgers(state_dir, { endpoint, bucket }, WEEK_MS)) {
    await abort(session, head.key, head.upload_id, signal);
    removeLedger(path);
  }
}

/** An upload that is gone is aborted; a server that cannot list or abort has to clean up by a rule of the bucket. */
function toleratingAbsence(error: unknown): null {
  if (reasonOf(error) === 'NoSuchUpload' || isWithout(error)) return null;
  throw error;
}
