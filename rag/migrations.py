"""The schema of `index.sqlite`, as small named migrations that are never edited again (sqlite-utils).

Imported by writers only: `import sqlite_utils` brings pandas where it is installed, and readers need none of this.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from rag.words import extra_words

migrations = Migrations("footnote")


@migrations()
def m001_initial(db: Database) -> None:
    db.executescript("""
    create table manifest (key text primary key, value text not null) without rowid;

    create table roots (id integer primary key, path text not null unique);
    create table files (
        id integer primary key,
        root_id integer not null references roots(id),
        relpath text not null,
        size integer not null,
        mtime_ns integer not null,
        sha256 blob,               -- null where the bytes could not be read
        reason text,               -- why the file was set aside; null where it was read
        notes text not null,       -- JSON list: what a person should know about how it was read
        unique (root_id, relpath)
    );
    create table documents (
        id integer primary key,
        file_id integer references files(id),  -- null where a script added the document
        source text not null unique,
        title text,
        text text not null,
        sections text not null,    -- JSON [[start, body, path], ...]
        pages text not null,       -- JSON [start, ...]
        metadata text not null     -- JSON object
    );
    create index documents_file on documents (file_id);

    create table embeddings (
        id integer primary key,
        key blob not null unique,  -- SHA-256 of the encoder's space and the exact string given to it
        vector blob not null       -- float16, little-endian, unit length
    );
    create table changes (
        id integer primary key autoincrement,
        token blob not null,       -- random: after a power cut, an id can come again for other text
        at text not null
    );
    create table chunks (
        id integer primary key autoincrement,  -- never reused; the label in FAISS
        document_id integer not null references documents(id),
        change_id integer not null references changes(id),
        embedding_id integer not null references embeddings(id),
        start integer not null,
        end integer not null,
        page integer,
        breaks text not null,      -- JSON [offset, ...] of page breaks inside the chunk
        section text,
        context text not null,
        text text not null,
        text_key integer not null  -- 64 bits of the text's SHA-256, to find the same text elsewhere
    );
    create index chunks_document on chunks (document_id);
    create index chunks_embedding on chunks (embedding_id);
    create index chunks_text_key on chunks (text_key);
    create index chunks_change on chunks (change_id);
    create table removed_chunks (chunk_id integer primary key, change_id integer not null);
    create index removed_chunks_change on removed_chunks (change_id);

    create virtual table chunks_fts using fts5(
        context, text, content='chunks', content_rowid='id', tokenize='porter unicode61 remove_diacritics 2'
    );
    create virtual table chunks_words using fts5vocab(chunks_fts, row);
    create trigger chunks_added after insert on chunks begin
        insert into chunks_fts (rowid, context, text) values (new.id, new.context, new.text);
    end;
    create trigger chunks_removed after delete on chunks begin
        insert into chunks_fts (chunks_fts, rowid, context, text) values ('delete', old.id, old.context, old.text);
        insert into removed_chunks (chunk_id, change_id) values (old.id, (select max(id) from changes));
    end;

    create table ingests (id integer primary key, at text not null, report text not null);
    """)


@migrations()
def m002_loose_embeddings_filters_and_roots(db: Database) -> None:
    """Know which embeddings no chunk uses without looking at all of them, and filter without passing long texts."""
    db.executescript("""
    alter table roots add column of_folder integer not null default 1;  -- 0: only files in it were named
    create index documents_filtered on documents (source, file_id, title, metadata);
    create table loose_embeddings (id integer primary key);  -- exactly those that no chunk uses
    insert into loose_embeddings
        select id from embeddings where not exists (select 1 from chunks where embedding_id = embeddings.id);
    create trigger embeddings_added after insert on embeddings begin
        insert into loose_embeddings (id) values (new.id);
    end;
    create trigger chunks_embedded after insert on chunks begin
        delete from loose_embeddings where id = new.embedding_id;
    end;
    create trigger chunks_embedded_anew after update of embedding_id on chunks begin
        delete from loose_embeddings where id = new.embedding_id;
        insert or ignore into loose_embeddings
            select old.embedding_id where not exists (select 1 from chunks where embedding_id = old.embedding_id);
    end;
    create trigger chunks_no_more_embedded after delete on chunks begin
        insert or ignore into loose_embeddings
            select old.embedding_id where not exists (select 1 from chunks where embedding_id = old.embedding_id);
    end;
    """)


@migrations()
def m003_embeddings_that_wait(db: Database) -> None:
    """An embedding may wait for its vector, which is empty then; which ones do is found without looking at all."""
    db.executescript("create index embeddings_waiting on embeddings (id) where vector = x'';")


@migrations()
def m004_token_bits_and_extra_words(db: Database) -> None:
    """Keep a sketch of each token of a text, and find words of scripts that FTS5 does not cut as their readers do."""
    db.executescript("""
    create table token_bits (
        embedding_id integer primary key references embeddings(id),
        bits blob not null         -- as rag.late makes it
    );
    create index token_bits_there on token_bits (embedding_id);  -- to count them without passing the bits
    create trigger embeddings_removed before delete on embeddings begin
        delete from token_bits where embedding_id = old.id;
    end;
    alter table chunks add column extra text not null default '';  -- what rag.words.extra_words says of it

    drop trigger chunks_added;
    drop trigger chunks_removed;
    drop table chunks_words;
    drop table chunks_fts;
    create virtual table chunks_fts using fts5(
        context, text, extra, content='chunks', content_rowid='id',
        tokenize='porter unicode61 remove_diacritics 2'
    );
    create virtual table chunks_words using fts5vocab(chunks_fts, row);
    create trigger chunks_added after insert on chunks begin
        insert into chunks_fts (rowid, context, text, extra) values (new.id, new.context, new.text, new.extra);
    end;
    create trigger chunks_removed after delete on chunks begin
        insert into chunks_fts (chunks_fts, rowid, context, text, extra)
            values ('delete', old.id, old.context, old.text, old.extra);
        insert into removed_chunks (chunk_id, change_id) values (old.id, (select max(id) from changes));
    end;
    """)
    rows = db.query("select id, context, text from chunks")
    extra = ((extra_words(f"{row['context']}\n{row['text']}"), row["id"]) for row in rows)
    db.conn.executemany("update chunks set extra = ? where id = ?", [found for found in extra if found[0]])
    db.execute("insert into chunks_fts (chunks_fts) values ('rebuild')")
