-- Which key seals what is kept secret here; null: none was used yet.
ALTER TABLE installation ADD COLUMN key_fingerprint TEXT;
