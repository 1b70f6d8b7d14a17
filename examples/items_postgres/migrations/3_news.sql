-- Notifies all listeners of each new item when it is committed, no matter which program created it.
CREATE FUNCTION items_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('items_made', json_strip_nulls(json_build_object(
        'id', NEW.id, 'name', NEW.name, 'quantity', NEW.quantity, 'price_cents', NEW.price_cents
    ))::text);
    RETURN NULL;
END
$$;

CREATE TRIGGER items_made AFTER INSERT ON items FOR EACH ROW EXECUTE FUNCTION items_tell();
