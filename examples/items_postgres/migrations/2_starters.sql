-- The same items as in the example in memory, so that the first GET shows something.
INSERT INTO items (name, quantity, price_cents) VALUES
    ('cast iron kettle', 3, 4900),
    ('bellows', 1, 2450),
    ('birch log', 120, NULL);
