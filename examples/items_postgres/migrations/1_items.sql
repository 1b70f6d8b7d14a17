CREATE TABLE items (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name TEXT NOT NULL,
    -- Bounds: the largest u32, and the largest integer that every JSON parser represents exactly.
    quantity BIGINT NOT NULL CHECK (quantity BETWEEN 0 AND 4294967295),
    price_cents BIGINT CHECK (price_cents BETWEEN 0 AND 9007199254740991)
);
