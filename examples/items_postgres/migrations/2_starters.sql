-- Something to see at the first GET: what the example in memory begins with.
INSERT INTO items (name, quantity, price_cents) VALUES
    ('cast iron kettle', 3, 4900),
    ('bellows', 1, 2450),
    ('birch log', 120, NULL);
