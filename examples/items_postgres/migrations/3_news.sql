-- Tells whoever listens about each new item, whichever program made it, once it is committed.
CREATE FUNCTION items_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('items_made', json_strip_nulls(json_build_object(
        'id', NEW.id, 'name', NEW.name, 'quantity', NEW.quantity, 'price_cents', NEW.price_cents
    ))::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER items_made AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION items_tell();
