"""Alembic's entry point: run the migrations on the connection that `monitor.store.migrate` passes, in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
