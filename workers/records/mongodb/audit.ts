import { ObjectId } from 'mongodb';
import { insertOnce } from '../../mongodb/change.ts';
import type { Mongo } from '../../mongodb/connection.ts';
import type { Item } from '../../mongodb/outbox.ts';
import { asJson, jsonRead } from '../../mongodb/values.ts';
import { now } from '../../sqlite/values.ts';
import type { AuditEntry, Records } from '../contract.ts';
import { AUDIT } from './documents.ts';

/** `details` are JSON. */
type AuditRecord = Omit<AuditEntry, 'details'> & { _id: ObjectId; details: string };

const auditOf = (mongo: Mongo) => mongo.collection<AuditRecord>(AUDIT);

/** Object ids of one process sort in the order they were made. */
const entryOf = ({ details, ...entry }: Omit<AuditEntry, 'at'>): AuditRecord => ({
  _id: new ObjectId(),
  at: now(),
  ...entry,
  details: asJson(details),
});

/** Part of the decision that it tells about. */
export const auditItem = (entry: Omit<AuditEntry, 'at'>): Item => ({
  collection: AUDIT,
  document: entryOf(entry),
});

export function auditRecords(mongo: Mongo): Pick<Records, 'audit' | 'auditLog'> {
  return {
    audit: (entry) => insertOnce(mongo, auditOf(mongo), entryOf(entry)),
    auditLog: async ({ subject, limit }) => {
      const found = await mongo.run(() =>
        auditOf(mongo)
          .find(subject === undefined ? {} : { subject })
          .sort({ at: -1, _id: -1 })
          .limit(limit ?? 100)
          .toArray(),
      );
      return found.map(({ at, actor, action, subject: about, details }) => ({
        at,
        actor,
        action,
        subject: about,
        details: jsonRead<AuditEntry['details']>(details),
      }));
    },
  };
}
