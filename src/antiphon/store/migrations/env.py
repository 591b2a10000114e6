"""Alembic's environment: runs the migrations on the connection and in the transaction of ``migration.upgrade``."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="antiphon_schema",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
